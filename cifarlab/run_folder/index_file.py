"""What the index read, kept in two hidden files of the folder, so that it need not be read again.

    .runs-index       a line for each run: its path, the stamps of its files, its entry (JSON)
    .recipes-index    a line for each recipe: the digest of its text, its settings (JSON)

They can't be wrong, only missing. A run's line counts while its files have the same stamps: times,
size, number on the disk. Times have a grain (at most 2 s, on FAT), so a file could change twice
within one of them: a line is written only where all of its files were older than that, by the
disk's own clock, before they were read. (Windows keeps the time of a content alone: there a
program could change a file in place and set that back.) A recipe's line follows from the text that
its digest stands for. Each file begins with digests of the code that reads runs, and of the file
itself: other code starts anew, and so does whoever finds it damaged.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from cifarlab.system.errors import StorageError
from cifarlab.system.files import read_text, write_text

RunLine = tuple[str, str, str]  # path, stamps and entry
_WORTH_WRITING = 20  # so many that were read anew: writing costs about as much as reading them
_GRAIN_NS = 2_000_000_000


class IndexFile:
    """The two files of a folder; one that can't be read or written is as if it were not there."""

    def __init__(self, root: Path) -> None:
        self.runs_file = root / ".runs-index"
        self.recipes_file = root / ".recipes-index"

    def read_runs(self) -> dict[str, tuple[str, str]]:
        """Return the stamps and the entry of each run, by its path."""
        return {path: (stamps, entry) for path, stamps, entry in _read(self.runs_file, 3)}

    def read_recipes(self) -> dict[str, str]:
        """Return the settings of each recipe, by the digest of its text."""
        return dict(_read(self.recipes_file, 2))

    @contextmanager
    def update(self, n_read: int) -> Iterator[Callable[[Iterable[RunLine]], None]]:
        """Give a function that replaces the lines of the runs; runs are read in the block.

        It does nothing where so few runs are read, ``n_read``, that it does not pay.
        """
        now = _disk_time(self.runs_file) if n_read > _WORTH_WRITING else None

        def write(lines: Iterable[RunLine]) -> None:
            if now is not None:
                settled = (line for line in lines if _newest(line[1]) < now - _GRAIN_NS)
                _write(self.runs_file, settled)

        yield write

    def write_recipes(self, settings: Mapping[str, str], n_read: int) -> None:
        """Replace the settings of all recipes, where ``n_read`` of them are new and that pays."""
        if n_read > _WORTH_WRITING:
            _write(self.recipes_file, settings.items())


@cache
def _reader() -> str:
    """Return a digest of the code that reads runs."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _read(file: Path, n_columns: int) -> Iterator[list[str]]:
    try:
        header, _, body = read_text(file, 2**30).partition("\n")
    except (OSError, UnicodeDecodeError):
        return
    if header == _header(body):
        yield from (row for line in body.split("\n") if len(row := line.split("\t")) == n_columns)


def _write(file: Path, rows: Iterable[tuple[str, ...]]) -> None:
    body = "\n".join("\t".join(row) for row in rows)  # JSON has no tab in it, nor a line end
    with suppress(StorageError):
        write_text(file, f"{_header(body)}\n{body}")


def _header(body: str) -> str:
    return f"{_reader()} {hashlib.sha256(body.encode()).hexdigest()}"


def _newest(stamps: str) -> int:
    """Return the latest time of the stamps in a line, in ns."""
    return max(int(max(stamp[:2])) for stamp in json.loads(stamps) if stamp)


def _disk_time(file: Path) -> int | None:
    """Return what time the disk of a file has now, in ns; None where nothing can be written."""
    probe = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        probe.touch()
        time = probe.stat().st_mtime_ns
        probe.unlink()
    except OSError:
        return None
    return time
