"""The runs, studies and searches in a folder, read from their small files, each once.

A recipe's YAML takes 18 ms to parse, so the list takes just the name and the seed from its text;
runs whose texts are else equal are seeds of one recipe. Nothing here writes, or locks a file.
"""

import hashlib
import os
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
from cifarlab.run_folder.openings import read_recipe_text
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import CifarlabError, PluginError, RunFolderError
from cifarlab.system.files import to_utf8
from cifarlab.system.formatting import number, pair

RUN_FILES = ("recipe.yaml", "result.json", "metrics.jsonl", "provenance.json", "checkpoints")
MARKER_FILES = {"study.json": "study", "search.json": "search", "race.json": "race"}
FILES = {"run": RUN_FILES, "study": ("study.json",), "search": ("search.json", "search.jsonl")}
MAX_FOLDERS = 20_000  # a user may name the root of a disk
MAX_DEPTH = 6
_MAX_RECIPES = 50  # recipes of one name, as of a search's trials: reading one takes 18 ms
SILENCE_SECONDS = 120.0  # without a new line: at least so long, and the run has stopped

Stamp = tuple[int, int] | None  # a file's time of change (ns) and size, None where there is none


@dataclass(frozen=True)
class Entry:
    """One run in the list.

    ``url_path`` is its path under the root, with slashes, which ends its URL. ``recipe`` is the
    recipe's name; ``group`` is the same for all seeds of one recipe on the same images.
    ``early_end`` says what ended a finished run before its recipe would have. Accuracies and
    intervals are fractions; ``last_modified`` is when it last wrote (seconds since 1970), ``pace``
    seconds per epoch. ``note`` says why its recipe can't be shown, ``problem`` why the run can't be
    read; both are empty for a sound run.
    """

    url_path: str
    name: str
    recipe: str = ""
    group: str = ""
    seed: int | None = None
    data: str = ""
    is_finished: bool = False
    early_end: str = ""
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
        """Return the run's state as its files show it at time ``now`` (seconds since 1970).

        That is ``finished``, ``ended early``, ``training``, ``stopped`` or ``damaged``.
        """
        if self.problem:
            return "damaged"
        if self.early_end:
            return "ended early"
        if self.is_finished:
            return "finished"
        patience = max(SILENCE_SECONDS, 3 * (self.pace or 0))
        return "training" if now - self.last_modified < patience else "stopped"


class Listing(NamedTuple):
    """What a folder holds; ``unrecognized_entries`` are (url_path, reason) of other folders."""

    runs: tuple[Entry, ...]
    studies: tuple[str, ...]
    searches: tuple[str, ...]
    unrecognized_entries: tuple[tuple[str, str], ...]


class MissingFolderError(RunFolderError):
    """A URL leads to no folder, or to a folder of another kind."""


class Index:
    """The list of runs under ``root``; a run is read again only when one of its files changed."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._entries: dict[Path, tuple[Any, Entry]] = {}
        self._recipes: dict[str, Recipe] = {}
        self._lock = threading.Lock()

    def listing(self) -> Listing:
        """Return all runs, studies and searches as they are now."""
        with self._lock:
            folders = list(walk(self.root))
            approvals = file_stamp(approvals_file())
            self._entries = {
                path: self._read(path, approvals) for path, kind, _ in folders if kind == "run"
            }
            runs = tuple(entry for _, entry in self._entries.values())
        studies, searches = (
            tuple(self.url_path(path) for path, kind, _ in folders if kind == collection)
            for collection in ("study", "search")
        )
        problems = [(self.url_path(path), reason) for path, _, reason in folders if reason]
        problems += [(r.url_path, message) for r in runs if (message := r.problem or r.note)]
        return Listing(runs, studies, searches, tuple(problems))

    def _read(self, path: Path, approvals: Stamp) -> tuple[Any, Entry]:
        """Return a run's stamp and entry, which is read again where the stamp changed."""
        stamp = (*run_stamps(path), approvals)
        entry = self._entries.get(path)
        if entry and entry[0] == stamp:
            return entry
        return stamp, read_entry(path, self.url_path(path))

    def group_names(self, runs: Iterable[Entry]) -> dict[str, str]:
        """Return each group's name: the recipe's, with its settings where others have that name."""
        firsts: dict[str, Entry] = {}
        for run in runs:
            if not run.problem:
                firsts.setdefault(run.group, run)
        n_groups = Counter(run.recipe for run in firsts.values())
        names: dict[str, str] = {}
        recipes: dict[str, Recipe] = {}
        for group, run in firsts.items():
            names[group] = run.recipe if n_groups[run.recipe] == 1 else f"{run.recipe} {run.name}"
            if 1 < n_groups[run.recipe] <= _MAX_RECIPES:
                with suppress(CifarlabError):  # deleted meanwhile, or no recipe of ours
                    if group not in self._recipes:
                        self._recipes[group] = RunFolder(self.path(run.url_path)).recipe()
                    recipes[group] = self._recipes[group]
        entries = [firsts[group] for group in recipes]
        distinct_labels = distinct_names(
            [run.recipe for run in entries], list(recipes.values()), [run.name for run in entries]
        )
        return names | dict(zip(recipes, distinct_labels, strict=True))

    def url_path(self, path: Path) -> str:
        """Return a folder's path under the root, which ends its URL; that of the root is empty."""
        return "" if path == self.root else to_utf8(path.relative_to(self.root).as_posix())

    def path(self, url_path: str, kind: str = "") -> Path:
        """Return the folder at a URL path: any, or one of a ``kind`` (run, study, search).

        Raises:
            MissingFolderError: it is not under the root, or not of that kind
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
    """Yield (path, kind, "") of runs, studies, searches and races, (path, "", reason) of others.

    Links and hidden folders are not followed. Folders in a run belong to it, and so do other
    folders than runs to the study, search or race that they are in.
    """
    collections: set[Path] = set()  # studies, searches, races, and all folders in them

    def add_unreadable(error: OSError) -> None:
        unreadable_folders.append((Path(error.filename), "", f"can't be read: {error.strerror}"))

    unreadable_folders: list[tuple[Path, str, str]] = []
    for n_seen, (name, subfolders, files) in enumerate(os.walk(root, onerror=add_unreadable)):
        folder, names = Path(name), {*subfolders, *files}
        if n_seen == MAX_FOLDERS:
            yield root, "", f"only its first {MAX_FOLDERS:,} folders were looked at"
            break
        kind = next((kind for mark, kind in MARKER_FILES.items() if mark in names), "")
        kind = kind or ("" if names.isdisjoint(RUN_FILES) else "run")
        visible = sorted(name for name in names if not name.startswith("."))
        subfolders[:] = [name for name in visible if name in subfolders] if kind != "run" else []
        if kind:
            yield folder, kind, ""
        elif visible and not subfolders and folder != root and folder.parent not in collections:
            yield folder, "", "it is no run of cifarlab: it has no recipe.yaml"
        if kind or folder.parent in collections:
            collections.add(folder)
        for subfolder in [name for name in subfolders if to_utf8(name) != name]:
            subfolders.remove(subfolder)
            yield folder / subfolder, "", "its name is not UTF-8: rename it"
        if len(folder.relative_to(root).parts) == MAX_DEPTH:
            subfolders.clear()
    yield from unreadable_folders


def run_stamps(path: Path) -> tuple[Stamp, ...]:
    """Return the stamps of the files that a run's entry depends on."""
    return tuple(file_stamp(path / name) for name in RUN_FILES[:4])


def file_stamp(path: Path) -> Stamp:
    """Return a file's time of change (ns) and size, None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  (Path.stat is twice as slow)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def read_entry(path: Path, url_path: str) -> Entry:
    """Return one run's entry; an error of the folder becomes its ``problem``."""
    name, folder = to_utf8(path.name), RunFolder(path)
    try:
        recipe, seed, group = read_recipe_text(folder.require())
        stored_result, provenance = folder.result(), folder.provenance()
        line = {} if stored_result is not None else (folder.metrics.read() or [{"epoch": 0}])[-1]
    except RunFolderError as error:
        return Entry(url_path, name, problem=error.what.replace(f"{path}{os.sep}", ""))
    result, note = stored_result or {}, ""
    if "\nplugins: []" not in f"\n{group}":
        try:
            folder.recipe()
        except PluginError as error:  # as where somebody else made the run
            note = f"{error.what}; {error.hint}"
        except CifarlabError:  # the run's page shows it
            pass
    data = str(result.get("data") or dig(provenance, "data", "name") or "")
    images = dig(provenance, "data", "fingerprint")  # other images may lie at the path today
    epochs, parameters = number(result.get("epochs")), number(result.get("parameters"))
    return Entry(
        url_path,
        name,
        recipe=str(result.get("recipe") or recipe),
        group=hashlib.sha256(f"{group}\n{data}\n{images}".encode()).hexdigest()[:12],
        seed=seed,
        data=data,
        is_finished=stored_result is not None,
        early_end=describe_early_end(result),
        epochs=line.get("epoch", None if epochs is None else int(epochs)),
        test=number(dig(result, "test", "accuracy")),
        interval=pair(dig(result, "test", "interval")),
        val=number(dig(line or result, "val", "accuracy")),
        seconds=number(dig(result, "cost", "train_seconds")),
        parameters=None if parameters is None else int(parameters),
        last_modified=max(stamp[0] for stamp in run_stamps(path) if stamp) / 1e9,
        pace=number(dig(line, "cost", "train_seconds")),
        note=note,
    )
