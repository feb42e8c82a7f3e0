"""What lies in a folder of runs, read from small files, once: runs, studies, searches, the rest.

A recipe's YAML takes 18 ms to parse, so the list takes from its text just the name and the seed;
the rest of that text says which runs are seeds of one recipe. Nothing here writes, locks or waits.
"""

import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.config.plugins import approvals_file
from cifarlab.recipes.schema import Recipe
from cifarlab.report.settings import distinct_names
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import CifarlabError, PluginError, RunFolderError
from cifarlab.system.files import MAX_YAML_BYTES, read_text, to_utf8
from cifarlab.system.formatting import number, pair

OF_A_RUN = ("recipe.yaml", "result.json", "metrics.jsonl", "provenance.json", "checkpoints")
MARKS = {"study.json": "study", "search.json": "search"}
FILES = {"run": OF_A_RUN, "study": ("study.json",), "search": ("search.json", "search.jsonl")}
MOST_FOLDERS = 20_000  # somebody may name the root of a disk
DEPTH = 6
_MOST_READ = 50  # recipes of one name, as of a search's trials: reading one takes 18 ms
SILENCE = 120.0  # seconds without a new line, at least, after which no training is assumed
_NAME = re.compile(r"^name: *(\S.*)$", re.MULTILINE)
_SEED = re.compile(r"^seed: *(\d{1,10}) *$", re.MULTILINE)

Stamp = tuple[int, int] | None  # a file's time of change (ns) and size, None where there is none


@dataclass(frozen=True)
class Entry:
    """One run in the list. ``url_path`` is its path under the root, by slashes, as its URL ends.

    ``recipe`` is its name, ``group`` the same for all seeds of one recipe on the same images.
    ``early`` says of a finished run what ended it before its recipe would have.
    Accuracies and intervals are fractions; ``last_modified`` is when it last wrote (seconds since
    1970), ``pace`` seconds per epoch. ``note`` is why its recipe
    can't be shown. ``problem`` is why it can't be read, empty for a whole run.
    """

    url_path: str
    name: str
    recipe: str = ""
    group: str = ""
    seed: int | None = None
    data: str = ""
    finished: bool = False
    early: str = ""
    epochs: int | None = None
    test: float | None = None
    interval: tuple[float | None, float | None] = (None, None)
    val: float | None = None
    seconds: float | None = None
    parameters: int | None = None
    last_modified: float = 0.0
    pace: float | None = None
    note: str = ""
    problem: str = ""

    def state(self, now: float) -> str:
        """Return the run's state, as far as files can tell.

        ``finished``, ``ended early``, ``training``, ``stopped`` or ``damaged``.
        """
        if self.problem:
            return "damaged"
        if self.early:
            return "ended early"
        if self.finished:
            return "finished"
        patience = max(SILENCE, 3 * (self.pace or 0))
        return "training" if now - self.last_modified < patience else "stopped"


class Listing(NamedTuple):
    """All that was found; ``unrecognized_entries`` are (url_path, reason) of folders not ours."""

    runs: tuple[Entry, ...]
    studies: tuple[str, ...]
    searches: tuple[str, ...]
    unrecognized_entries: tuple[tuple[str, str], ...]


class MissingFolderError(RunFolderError):
    """An address leads to no folder, or to one that is not what it should be."""


class Index:
    """The list of runs under ``root``; a run is read again only when one of its files changed."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._known: dict[Path, tuple[Any, Entry]] = {}
        self._recipes: dict[str, Recipe] = {}
        self._reading = threading.Lock()

    def listing(self) -> Listing:
        """Return all runs, studies and searches as they are now."""
        with self._reading:
            folders = list(walk(self.root))
            approvals = file_stamp(approvals_file())
            self._known = {
                path: self._read(path, approvals) for path, kind, _ in folders if kind == "run"
            }
            runs = tuple(entry for _, entry in self._known.values())
        studies, searches = (
            tuple(self.url_path(path) for path, kind, _ in folders if kind == wanted)
            for wanted in ("study", "search")
        )
        problems = [(self.url_path(path), reason) for path, _, reason in folders if reason]
        problems += [(run.url_path, why) for run in runs if (why := run.problem or run.note)]
        return Listing(runs, studies, searches, tuple(problems))

    def _read(self, path: Path, approvals: Stamp) -> tuple[Any, Entry]:
        """Return a run's entry with its stamp, anew where that changed."""
        stamp = (*stamps(path), approvals)
        known = self._known.get(path)
        if known and known[0] == stamp:
            return known
        return stamp, read_entry(path, self.url_path(path))

    def group_names(self, runs: Iterable[Entry]) -> dict[str, str]:
        """Return each group's name: its recipe's, with what differs from others of that name."""
        firsts: dict[str, Entry] = {}
        for run in runs:
            if not run.problem:
                firsts.setdefault(run.group, run)
        alike = Counter(run.recipe for run in firsts.values())
        names: dict[str, str] = {}
        recipes: dict[str, Recipe] = {}
        for group, run in firsts.items():
            names[group] = run.recipe if alike[run.recipe] == 1 else f"{run.recipe} {run.name}"
            if 1 < alike[run.recipe] <= _MOST_READ:
                with suppress(CifarlabError):  # being deleted, or no recipe of ours
                    if group not in self._recipes:
                        self._recipes[group] = RunFolder(self.path(run.url_path)).recipe()
                    recipes[group] = self._recipes[group]
        shown = [firsts[group] for group in recipes]
        distinct = distinct_names(
            [run.recipe for run in shown], list(recipes.values()), [run.name for run in shown]
        )
        return names | dict(zip(recipes, distinct, strict=True))

    def url_path(self, path: Path) -> str:
        """Return a folder's path under the root, as its URL ends; the root's own is empty."""
        return "" if path == self.root else to_utf8(path.relative_to(self.root).as_posix())

    def path(self, url_path: str, kind: str = "") -> Path:
        """Return the folder at a URL path: any, or that of a ``kind`` (run, study, search).

        Raises MissingFolderError for one that is not under the root or not of that kind.
        """
        try:
            path = (self.root / url_path).resolve()
            is_inside = path.is_relative_to(self.root) and path.is_dir()
        except (OSError, ValueError):  # too long, a NUL
            is_inside = False
        if not is_inside:
            raise MissingFolderError(
                f"there is no folder {url_path!r} under {self.root}",
                "it was moved or deleted, or the address is wrong: go back to the list",
            )
        if kind and not any((path / name).exists() for name in FILES[kind]):
            raise MissingFolderError(
                f"{url_path!r} is no {kind}: it has no {FILES[kind][0]}", "go back to the list"
            )
        return path


def walk(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield (path, kind, "") of all runs, studies and searches, (path, "", reason) of others.

    Links and hidden folders are not followed; what is inside of a run is its own, and so is what a
    study or a search has beside its runs.
    """
    owned: set[Path] = set()  # studies, searches, and all folders in them

    def report(error: OSError) -> None:
        unreadable.append((Path(error.filename), "", f"can't be read: {error.strerror}"))

    unreadable: list[tuple[Path, str, str]] = []
    for n_seen, (name, below, files) in enumerate(os.walk(root, onerror=report)):
        folder, names = Path(name), {*below, *files}
        if n_seen == MOST_FOLDERS:
            yield root, "", f"only its first {MOST_FOLDERS:,} folders were looked at"
            break
        kind = next((kind for mark, kind in MARKS.items() if mark in names), "")
        kind = kind or ("" if names.isdisjoint(OF_A_RUN) else "run")
        visible = sorted(name for name in names if not name.startswith("."))
        below[:] = [name for name in visible if name in below] if kind != "run" else []
        if kind:
            yield folder, kind, ""
        elif visible and not below and folder != root and folder.parent not in owned:
            yield folder, "", "it is no run of cifarlab: it has no recipe.yaml"
        if kind or folder.parent in owned:
            owned.add(folder)
        for odd in [name for name in below if to_utf8(name) != name]:
            below.remove(odd)
            yield folder / odd, "", "its name is not UTF-8: rename it"
        if len(folder.relative_to(root).parts) == DEPTH:
            below.clear()
    yield from unreadable


def stamps(path: Path) -> tuple[Stamp, ...]:
    """Return the stamps of the files that a run's entry depends on."""
    return tuple(file_stamp(path / name) for name in OF_A_RUN[:4])


def file_stamp(path: Path) -> Stamp:
    """Return the time of change and size of a file, None where it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116  (Path.stat is twice as slow)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def read_entry(path: Path, url_path: str) -> Entry:
    """Return one run's entry; whatever is wrong with the folder becomes its ``problem``."""
    name, folder = to_utf8(path.name), RunFolder(path)
    try:
        recipe, seed, group = _recipe(folder.require())
        finished, provenance = folder.result(), folder.provenance()
        line = {} if finished is not None else (folder.metrics.read() or [{"epoch": 0}])[-1]
    except RunFolderError as error:
        return Entry(url_path, name, problem=error.what.replace(f"{path}{os.sep}", ""))
    result, note = finished or {}, ""
    if "\nplugins: []" not in f"\n{group}":  # as where somebody else made the run
        try:
            folder.recipe()
        except PluginError as error:
            note = f"{error.what}; {error.hint}"
        except CifarlabError:  # its own page says so
            pass
    data = str(result.get("data") or dig(provenance, "data", "name") or "")
    images = dig(provenance, "data", "fingerprint")  # the path may hold others now
    epochs, parameters = number(result.get("epochs")), number(result.get("parameters"))
    return Entry(
        url_path,
        name,
        recipe=str(result.get("recipe") or recipe),
        group=hashlib.sha256(f"{group}\n{data}\n{images}".encode()).hexdigest()[:12],
        seed=seed,
        data=data,
        finished=finished is not None,
        early=describe_early_end(result),
        epochs=line.get("epoch", None if epochs is None else int(epochs)),
        test=number(dig(result, "test", "accuracy")),
        interval=pair(dig(result, "test", "interval")),
        val=number(dig(line or result, "val", "accuracy")),
        seconds=number(dig(result, "cost", "train_seconds")),
        parameters=None if parameters is None else int(parameters),
        last_modified=max(stamp[0] for stamp in stamps(path) if stamp) / 1e9,
        pace=number(dig(line, "cost", "train_seconds")),
        note=note,
    )


def _recipe(folder: RunFolder) -> tuple[str, int, str]:
    """Return a recipe's name, its seed, and its text without both. Raises RunFolderError."""
    try:
        text = read_text(folder.recipe_file, MAX_YAML_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"recipe.yaml can't be read: {error}", "restore it") from error
    name, seed = _NAME.search(text), _SEED.search(text)
    if name is None or seed is None or not re.search(r"^evaluation:", text, re.MULTILINE):
        raise RunFolderError("recipe.yaml is torn: name, seed or its end is missing", "restore it")
    return name[1].strip(" '\""), int(seed[1]), _SEED.sub("", _NAME.sub("", text, count=1), count=1)
