"""What the index read, kept in two hidden files of the folder, so that it need not be read again.

    .runs-index       a line for each run: its path, the stamps of its folder and files, its entry
                      without the facts, and the facts (JSON)
    .recipes-index    a line for each recipe: the digest of its text, its settings (JSON)

A line holds what reading would give. A run's counts while its folder and files have the same
stamps: times, size, number on the disk. Times have a grain (at most 2 s, on FAT), so a file could
change twice within one of them: a run counts as read only where all of these were older than that,
by the disk's own clock, before they were read. (Windows keeps the time of a content alone: there a
program could change a file in place and set that back.) A recipe's line follows from the text that
its digest stands for. Each file begins with digests of what reads runs, which is the code of the
rooms below, Python, pydantic and PyYAML, and of the file itself: with other code the index starts
anew, and so it does where the file is damaged.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cifarlab.system.errors import StorageError
from cifarlab.system.files import read_bytes, write_text

RunLine = tuple[str, str, str, str]  # path, stamps, entry and facts
_ROOMS = ("config", "recipes", "run_folder", "system")
_LIBRARIES = {"pydantic": "version.py", "yaml": "__init__.py"}  # where each names its version
_WORTH_WRITING = 20  # so many that were read anew: writing costs about as much as reading them
_GRAIN_NS = 2_000_000_000
_MAX_BYTES = 2**30


class IndexFile:
    """The two files of a folder; one that can't be read or written is as if it were not there."""

    def __init__(self, root: Path, *, writes: bool) -> None:
        self.runs_file = root / ".runs-index"
        self.recipes_file = root / ".recipes-index"
        self._writes = writes

    def read_runs(self) -> Iterator[list[str]]:
        """Yield path, stamps, entry and facts of each run."""
        return _read(self.runs_file, 4)

    def read_recipes(self) -> dict[str, str]:
        """Return the settings of each recipe, by the digest of its text."""
        return dict(_read(self.recipes_file, 2))

    def now(self) -> int:
        """Return the time in ns, by the disk's clock; by ours where nothing is to be written."""
        time_on_disk = _disk_time(self.runs_file) if self._writes else None
        return time.time_ns() if time_on_disk is None else time_on_disk

    def write_runs(self, lines: Iterable[RunLine], n_read: int) -> None:
        """Replace the lines of all runs, where ``n_read`` of them are new and that pays."""
        self._write(self.runs_file, lines, n_read)

    def write_recipes(self, settings: Mapping[str, str], n_read: int) -> None:
        """Replace the settings of all recipes, where ``n_read`` of them are new and that pays."""
        self._write(self.recipes_file, settings.items(), n_read)

    def _write(self, file: Path, rows: Iterable[tuple[str, ...]], n_read: int) -> None:
        if self._writes and n_read > _WORTH_WRITING:
            body = "\n".join("\t".join(row) for row in rows)  # JSON has no tab, nor a line end
            with suppress(StorageError):
                write_text(file, f"{_header(body.encode())}\n{body}")


def settled_stamps(stamps: str, now: int) -> str:
    """Return the stamps where all are older than their grain, else "", which no files have."""
    newest = max((max(stamp[:2]) for stamp in json.loads(stamps) if stamp), default=now)
    return stamps if newest < now - _GRAIN_NS else ""


@cache
def _reader() -> str:
    """Return a digest of the code that reads runs."""
    code = b"".join(source.read_bytes() for source in _sources())
    return hashlib.sha256(sys.version.encode() + code).hexdigest()


def _sources() -> list[Path]:
    package = Path(__file__).parents[1]
    sources = [source for room in _ROOMS for source in sorted((package / room).glob("*.py"))]
    for library, file in _LIBRARIES.items():
        spec = find_spec(library)
        sources += [Path(spec.origin).with_name(file)] if spec and spec.origin else []
    return sources


def _read(file: Path, n_columns: int) -> Iterator[list[str]]:
    try:
        header, _, body = read_bytes(file, _MAX_BYTES).partition(b"\n")
        if header == _header(body).encode():
            rows = (line.split("\t") for line in body.decode().split("\n"))
            yield from (row for row in rows if len(row) == n_columns)
    except (OSError, UnicodeDecodeError):
        return


def _header(body: bytes) -> str:
    return f"{_reader()} {hashlib.sha256(body).hexdigest()}"


def _disk_time(file: Path) -> int | None:
    """Return what time the disk of a file has now, in ns; None where nothing can be written."""
    probe = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        probe.touch()
        now = probe.stat().st_mtime_ns
        probe.unlink()
    except OSError:
        return None
    return now
