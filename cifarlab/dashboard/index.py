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
from typing import Any

from cifarlab.config.plugins import approvals_file
from cifarlab.recipes.schema import Recipe
from cifarlab.report.settings import distinct_names
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.run_folder.metrics_log import MetricsLog
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import CifarlabError, PluginError, RecipeError, RunFolderError
from cifarlab.system.files import MOST_YAML_BYTES, read_text, require_plain, storable
from cifarlab.system.formatting import number, pair

OF_A_RUN = ("recipe.yaml", "result.json", "metrics.jsonl", "provenance.json", "checkpoints")
MARKS = {"study.json": "study", "search.json": "search"}
_FILES = {"run": OF_A_RUN, "study": ("study.json",), "search": ("search.json", "search.jsonl")}
MOST_FOLDERS = 20_000  # somebody may name the root of a disk
DEPTH = 6
_MOST_READ = 50  # recipes of one name, as of a search's trials: reading one takes 18 ms
SILENCE = 120.0  # seconds without a new line, at least, after which no training is assumed
_NAME = re.compile(r"^name: *(\S.*)$", re.MULTILINE)
_SEED = re.compile(r"^seed: *(\d{1,10}) *$", re.MULTILINE)
_TAIL = 4096  # bytes; a metrics log line has some 400


@dataclass(frozen=True)
class Entry:
    """One run in the list. ``url_path`` is its path under the root, by slashes, as its URL ends.

    ``recipe`` is its name, ``group`` the same for all seeds of one recipe on the same images.
    ``early`` says of a finished run what ended it before its recipe would have.
    Accuracies and intervals are shares; ``last_modified`` is when it last wrote (seconds since
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


@dataclass(frozen=True)
class Listing:
    """All that was found; ``unrecognized_entries`` are (url_path, reason) of folders not ours."""

    runs: tuple[Entry, ...]
    studies: tuple[str, ...]
    searches: tuple[str, ...]
    unrecognized_entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ScannedFolder:
    """A folder by what it is: run, study, search or unrecognized."""

    kind: str
    path: Path
    reason: str = ""


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
            runs = [
                self._entry(folder.path, approvals) for folder in folders if folder.kind == "run"
            ]
            self._known = {
                folder.path: self._known[folder.path] for folder in folders if folder.kind == "run"
            }
        url_paths = {
            kind: tuple(self.url_path(folder.path) for folder in folders if folder.kind == kind)
            for kind in ("study", "search")
        }
        unrecognized_entries = [
            (self.url_path(folder.path), folder.reason)
            for folder in folders
            if folder.kind == "unrecognized"
        ]
        unrecognized_entries += [
            (run.url_path, why) for run in runs if (why := run.problem or run.note)
        ]
        return Listing(
            tuple(runs), url_paths["study"], url_paths["search"], tuple(unrecognized_entries)
        )

    def group_names(self, runs: Iterable[Entry]) -> dict[str, str]:
        """Return each group's name: its recipe's, with what differs from others of that name."""
        firsts: dict[str, Entry] = {}
        for run in runs:
            if not run.problem:
                firsts.setdefault(run.group, run)
        counts = Counter(run.recipe for run in firsts.values())
        names, read = {}, []
        for group, run in firsts.items():
            alike = counts[run.recipe]
            names[group] = run.recipe if alike == 1 else f"{run.recipe} {run.name}"
            if 1 < alike <= _MOST_READ:
                with suppress(
                    RunFolderError, RecipeError, PluginError
                ):  # being deleted, or no recipe of ours
                    read.append((run, self._recipe(run)))
        distinct = distinct_names(
            [run.recipe for run, _ in read],
            [recipe for _, recipe in read],
            [run.name for run, _ in read],
        )
        return names | dict(zip((run.group for run, _ in read), distinct, strict=True))

    def _recipe(self, run: Entry) -> Recipe:
        if run.group not in self._recipes:
            self._recipes[run.group] = RunFolder(self.path(run.url_path)).recipe()
        return self._recipes[run.group]

    def url_path(self, path: Path) -> str:
        """Return a folder's path under the root, as its URL ends; the root's own is empty."""
        return "" if path == self.root else storable(path.relative_to(self.root).as_posix())

    def path(self, url_path: str, kind: str = "") -> Path:
        """Return the folder at a URL path: any, or that of a ``kind`` (run, study, search).

        Raises MissingFolderError for one that is not under the root or not of that kind.
        """
        try:
            path = (self.root / url_path).resolve()
            entries_inside = path.is_relative_to(self.root) and path.is_dir()
        except (OSError, ValueError):  # too long, a NUL
            entries_inside = False
        if not entries_inside:
            raise MissingFolderError(
                f"there is no folder {url_path!r} under {self.root}",
                "it was moved or deleted, or the address is wrong: go back to the list",
            )
        if kind and not any((path / name).exists() for name in _FILES[kind]):
            raise MissingFolderError(
                f"{url_path!r} is no {kind}: it has no {_FILES[kind][0]}", "go back to the list"
            )
        return path

    def _entry(self, path: Path, approvals: object) -> Entry:
        stamp = stamps(path), approvals
        known = self._known.get(path)
        if known and known[0] == stamp:
            return known[1]
        entry = read_entry(path, self.url_path(path))
        self._known[path] = (stamp, entry)
        return entry


def walk(root: Path) -> Iterator[ScannedFolder]:
    """Yield every run, study and search at ``root`` and under it, and unrecognized folders.

    Links and hidden folders are not followed; what is inside of a run is its own, and so is what a
    study or a search has beside its runs.
    """
    pending, seen = [(root, 0, False)], 0
    while pending:
        folder, depth, owned = pending.pop()
        seen += 1
        if seen > MOST_FOLDERS:
            yield ScannedFolder(
                "unrecognized", root, f"only its first {MOST_FOLDERS:,} folders were looked at"
            )
            return
        try:
            with os.scandir(folder) as entries:
                entries_inside = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            yield ScannedFolder("unrecognized", folder, f"can't be read: {error.strerror}")
            continue
        names = {entry.name for entry in entries_inside}
        kind = next((kind for mark, kind in MARKS.items() if mark in names), None)
        if kind is None and not names.isdisjoint(OF_A_RUN):
            yield ScannedFolder("run", folder)
            continue
        if kind is not None:
            yield ScannedFolder(kind, folder)
        below = [
            Path(entry.path)
            for entry in entries_inside
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
        ]
        odd = [path for path in below if storable(path.name) != path.name]
        yield from (
            ScannedFolder("unrecognized", path, "its name is not UTF-8: rename it") for path in odd
        )
        visible = any(not name.startswith(".") for name in names)
        if kind is None and visible and not (below or owned) and depth:
            yield ScannedFolder(
                "unrecognized", folder, "it is no run of cifarlab: it has no recipe.yaml"
            )
        if depth < DEPTH:
            pending += [
                (path, depth + 1, owned or kind is not None) for path in below if path not in odd
            ]


def stamps(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return the time of change and size of the files that a run's entry depends on."""
    return tuple(file_stamp(path / name) for name in OF_A_RUN[:4])


def file_stamp(path: Path) -> tuple[int, int] | None:
    """Return the time of change and size of a file, None where it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116  (Path.stat is twice as slow)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def read_entry(path: Path, url_path: str) -> Entry:
    """Return one run's entry; whatever is wrong with the folder becomes its ``problem``."""
    name = storable(path.name)
    try:
        folder = RunFolder(path).require()
        recipe, seed, group = _recipe(folder)
        result = folder.result()
        facts = _finished(result) if result is not None else _unfinished(folder)
        images = dig(folder.provenance(), "data", "fingerprint")  # the path may hold others now
    except RunFolderError as error:
        return Entry(url_path, name, problem=error.what.replace(f"{path}{os.sep}", ""))
    facts["data"] = data = str(facts["data"] or "")
    recipe_name = str(dig(result, "recipe") or recipe)
    last_modified = _last_modified(folder)
    digest = hashlib.sha256(f"{group}\n{data}\n{images}".encode()).hexdigest()[:12]
    note = "" if "\nplugins: []" in f"\n{group}" else _plugin_problem(folder)
    return Entry(
        url_path,
        name,
        recipe_name,
        digest,
        seed,
        finished=result is not None,
        last_modified=last_modified,
        note=note,
        **facts,
    )


def _recipe(folder: RunFolder) -> tuple[str, int, str]:
    """Return a recipe's name, its seed, and its text without both. Raises RunFolderError."""
    try:
        text = read_text(folder.recipe_file, MOST_YAML_BYTES)
    except FileNotFoundError as error:
        raise RunFolderError("it has no recipe.yaml", "restore it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"recipe.yaml can't be read: {error}", "restore it") from error
    name, seed = _NAME.search(text), _SEED.search(text)
    if name is None or seed is None or not re.search(r"^evaluation:", text, re.MULTILINE):
        raise RunFolderError("recipe.yaml is torn: name, seed or its end is missing", "restore it")
    return name[1].strip(" '\""), int(seed[1]), _SEED.sub("", _NAME.sub("", text, count=1), count=1)


def _plugin_problem(folder: RunFolder) -> str:
    """Return why its plug-ins may not be loaded, as where somebody else made the run."""
    try:
        folder.recipe()
    except PluginError as error:
        return f"{error.what}; {error.hint}"
    except CifarlabError:  # its own page says so
        pass
    return ""


def _finished(result: dict[str, Any]) -> dict[str, Any]:
    parameters, epochs = number(result.get("parameters")), number(result.get("epochs"))
    return {
        "data": result.get("data"),
        "test": number(dig(result, "test", "accuracy")),
        "interval": pair(dig(result, "test", "interval")),
        "val": number(dig(result, "val", "accuracy")),
        "early": describe_early_end(result),
        "epochs": None if epochs is None else int(epochs),
        "seconds": number(dig(result, "cost", "train_seconds")),
        "parameters": None if parameters is None else int(parameters),
    }


def _unfinished(folder: RunFolder) -> dict[str, Any]:
    line = last_line(folder.metrics)
    return {
        "data": dig(folder.provenance(), "data", "name"),
        "val": number(dig(line, "val", "accuracy")),
        "epochs": line["epoch"] if line else 0,
        "pace": number(dig(line, "cost", "train_seconds")),
    }


def last_line(metrics: MetricsLog) -> dict[str, Any] | None:
    """Return the newest whole line, without reading the others. Raises RunFolderError."""
    try:
        with require_plain(metrics.path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(f"metrics.jsonl can't be read: {error}", "restore it") from error
    complete_lines = tail[: tail.rfind(b"\n") + 1].splitlines()
    if not complete_lines or (
        len(complete_lines) == 1 and size > _TAIL
    ):  # that line's start is further up
        lines = metrics.read()
        return lines[-1] if lines else None
    return metrics.parse(complete_lines[-1].decode("utf-8", "replace"), "its last line")


def _last_modified(folder: RunFolder) -> float:
    """Return when a run last wrote something that it writes once per epoch or start."""
    times = [0.0]
    for file in (folder.metrics.path, folder.provenance_file, folder.recipe_file):
        try:
            times.append(file.stat().st_mtime)
        except OSError:
            continue
    return max(times)
