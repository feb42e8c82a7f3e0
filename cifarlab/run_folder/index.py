"""The runs, studies, searches and races in a folder, read from their small files, each once.

A recipe's YAML takes 18 ms to validate, so the index takes just the name and the seed from its
text; runs whose texts are else equal are seeds of one recipe.
"""

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from cifarlab.run_folder.index_file import IndexFile, settled_stamps
from cifarlab.run_folder.values import Values, flatten, leaves
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import to_utf8
from cifarlab.system.formatting import number, pair

RUN_FILES = ("recipe.yaml", "result.json", "metrics.jsonl", "provenance.json", "checkpoints")
MARKER_FILES = {"study.json": "study", "search.json": "search", "race.json": "race"}
MAX_FOLDERS = 20_000  # a user may name the root of a disk
MAX_DEPTH = 6
SILENCE_SECONDS = 120.0  # without a new line: at least so long, and the run has stopped
_ENTRY_FILES = (*RUN_FILES[:4], "format.json")  # what an entry is read from
_FACTS = ("cifarlab", "commit", "python", "libraries", "device", "precision", "processes", "data")

Stamp = tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Entry:
    """One run in the list.

    ``url_path`` is its path under the root, with slashes, which ends its URL. ``recipe`` is the
    recipe's name, ``digest`` stands for its text without name and seed; ``group`` is the same for
    all seeds of one recipe on the same images. ``early_end`` says what ended a finished run before
    its recipe would have. Accuracies and intervals are fractions; ``last_modified`` is when it last
    wrote (seconds since 1970), ``pace`` seconds per epoch, ``start`` when it first started (ISO
    8601), ``n_openings`` how often its test split was opened. ``note`` says why its recipe can't be
    shown, ``problem`` why the run can't be read; both are empty for a sound run. ``facts`` is JSON:
    result and provenance by dotted path.
    """

    url_path: str
    name: str
    recipe: str = ""
    digest: str = ""
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
    start: str = ""
    n_openings: int = 0
    has_plugins: bool = False
    note: str = ""
    problem: str = ""
    facts: str = field(default="{}", repr=False)

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

    @cached_property
    def values(self) -> Values:
        """Return the numbers and texts of result and provenance by their dotted path."""
        values: Values = json.loads(self.facts)
        return values

    def to_json(self) -> str:
        """Return all fields but the facts, which are JSON already, as text."""
        return json.dumps([getattr(self, name) for name in _FIELDS])

    @classmethod
    def from_json(cls, text: str, facts: str) -> "Entry | None":
        """Return what ``to_json`` wrote, with its facts; None where it did not write this."""
        try:
            values = dict(zip(_FIELDS, json.loads(text), strict=True))
            values["interval"] = tuple(values["interval"])
        except (ValueError, TypeError):
            return None
        entry = object.__new__(cls)  # __init__ of a frozen class takes 5 times as long
        vars(entry).update(values, facts=facts)
        return entry


_FIELDS = tuple(each.name for each in fields(Entry) if each.name != "facts")


class Listing(NamedTuple):
    """What a folder holds; ``unrecognized_entries`` are (url_path, reason) of other folders."""

    runs: tuple[Entry, ...]
    studies: tuple[str, ...]
    searches: tuple[str, ...]
    races: tuple[str, ...]
    unrecognized_entries: tuple[tuple[str, str], ...]


class RunIndex:
    """The list of runs under ``root``; a run is read again only when one of its files changed.

    What was read may also lie in a file (index_file.py); ``writes`` says whether to write it.
    """

    def __init__(self, root: Path, *, writes: bool = False) -> None:
        self.root = root.resolve()
        self._file = IndexFile(self.root, writes=writes)
        self._entries: dict[str, tuple[str, Entry]] | None = None  # with stamps, by url_path
        self._recipes: dict[str, Values] = {}
        self._lock = threading.Lock()

    def listing(self) -> Listing:
        """Return all runs, studies, searches and races as they are now."""
        with self._lock:
            known_runs, stamps = self._known_entries(), dict[str, str]()

            def is_unchanged(url_path: str) -> bool:
                if url_path not in known_runs:
                    return False
                stamps[url_path] = self._stamps(url_path)
                return known_runs[url_path][0] == stamps[url_path]

            folders = list(walk(self.root, is_unchanged))
            paths = [path for path, kind, _ in folders if kind == "run"]
            stamps |= {path: self._stamps(path) for path in paths if path not in stamps}
            runs = self._read_runs({path: stamps[path] for path in paths}, known_runs)
        studies, searches, races = (
            tuple(path for path, kind, _ in folders if kind == collection)
            for collection in ("study", "search", "race")
        )
        problems = [(path, reason) for path, _, reason in folders if reason]
        problems += [(run.url_path, run.problem) for run in runs if run.problem]
        return Listing(tuple(runs), studies, searches, races, tuple(problems))

    def _known_entries(self) -> dict[str, tuple[str, Entry]]:
        """Return the entries that were read before, each with the stamps of its files."""
        if self._entries is not None:
            return self._entries
        lines = self._file.read_runs()
        entries = ((path, stamps, Entry.from_json(*texts)) for path, stamps, *texts in lines)
        return {path: (stamps, entry) for path, stamps, entry in entries if entry}

    def _stamps(self, url_path: str) -> str:
        """Return as text the stamps of a run's folder, which is that of its names, and files."""
        path = f"{self.root}{os.sep}{url_path}"
        return json.dumps([file_stamp(path), *run_stamps(path)])

    def _read_runs(
        self, stamps: dict[str, str], known_runs: dict[str, tuple[str, Entry]]
    ) -> list[Entry]:
        """Return the entries of runs, of which only those with other stamps are read."""
        stale = [path for path in stamps if known_runs.get(path, ("",))[0] != stamps[path]]
        now = self._file.now() if stale else 0
        new = {
            path: (settled_stamps(stamps[path], now), read_entry(self.root / path, path))
            for path in stale
        }
        self._entries = {path: new.get(path) or known_runs[path] for path in stamps}
        lines = (
            (entry.url_path, stamp, entry.to_json(), entry.facts)
            for stamp, entry in self._entries.values()
            if stamp and not entry.problem  # which may name the folder, and that may be moved
        )
        self._file.write_runs(lines, len(stale))
        return [entry for _, entry in self._entries.values()]

    def recipes(self, entries: Iterable[Entry]) -> Mapping[str, Values]:
        """Return the settings of the entries' recipes by ``digest``, each by its dotted path.

        Recipes that can't be read have none. No code of a plug-in is run.
        """
        firsts = {entry.digest: entry for entry in entries if entry.digest not in self._recipes}
        lines = self._file.read_recipes() if firsts else {}
        missing = firsts.keys() - lines.keys()
        for key in missing:
            lines |= _read_settings(self.root / firsts[key].url_path)
        # of a recipe that was replaced since the list was made, nothing is known
        self._recipes |= {key: json.loads(lines.get(key, "{}")) for key in firsts}
        digests = {entry.digest for _, entry in (self._entries or {}).values()}
        self._file.write_recipes({key: lines[key] for key in digests & {*lines}}, len(missing))
        return self._recipes

    def url_path(self, path: Path) -> str:
        """Return a folder's path under the root, which ends its URL; that of the root is empty."""
        return "" if path == self.root else to_utf8(path.relative_to(self.root).as_posix())


def _read_settings(run: Path) -> dict[str, str]:
    """Return the settings but name and seed of a run's recipe as JSON, by the text's digest.

    They are those of that text, whatever becomes of the file meanwhile; none where it is no YAML.
    """
    from yaml import YAMLError

    from cifarlab.recipes.text import parse_yaml
    from cifarlab.run_folder.folder import RunFolder
    from cifarlab.run_folder.openings import read_recipe_text

    try:
        text = read_recipe_text(RunFolder(run))
        tree = parse_yaml(text.key)
    except (RunFolderError, YAMLError):  # reading the run says why
        return {}
    values = dict(leaves(tree)) if isinstance(tree, dict) else {}
    return {text.digest: json.dumps(values, default=str)}


def walk(
    root: Path, is_known_run: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[str, str, str]]:
    """Yield (url_path, kind, "") of runs, studies, searches and races, (.., "", reason) of others.

    Links and hidden folders are not followed. Folders in a run belong to it, and so do other
    folders than runs to the study, search or race that they are in. Of a run that
    ``is_known_run`` knows by its path the names are not read.
    """
    stack = [("", False)]  # paths, and whether they are in a study, search or race
    for n_seen in itertools.count():
        if not stack:
            return
        if n_seen == MAX_FOLDERS:
            yield "", "", f"only its first {MAX_FOLDERS:,} folders were looked at"
            return
        folder, is_member = stack.pop()
        if is_known_run(folder):
            yield folder, "run", ""
            continue
        try:
            with os.scandir(f"{root}{os.sep}{folder}") as entries:
                content = {entry.name: entry for entry in entries}
        except OSError as error:
            yield folder, "", f"can't be read: {error.strerror}"
            continue
        kind = next((kind for mark, kind in MARKER_FILES.items() if mark in content), "")
        if not kind and not content.keys().isdisjoint(RUN_FILES):
            yield folder, "run", ""
            continue
        visible = sorted(name for name in content if not name.startswith("."))
        subfolders = [name for name in visible if content[name].is_dir()]
        if kind:
            yield folder, kind, ""
        elif visible and not subfolders and folder and not is_member:
            yield folder, "", "it is no run of cifarlab: it has no recipe.yaml"
        paths = {name: f"{folder}/{name}".lstrip("/") for name in subfolders}
        for name in [name for name in subfolders if to_utf8(name) != name]:
            yield to_utf8(paths.pop(name)), "", "its name is not UTF-8: rename it"
        if not folder or folder.count("/") + 1 < MAX_DEPTH:
            children = [
                (path, bool(kind) or is_member)
                for name, path in paths.items()
                if not content[name].is_symlink()
            ]
            stack += reversed(children)


def run_stamps(path: Path | str) -> tuple[Stamp, ...]:
    """Return the stamps of the files that a run's entry depends on."""
    return tuple(file_stamp(f"{path}{os.sep}{name}") for name in _ENTRY_FILES)


def file_stamp(path: Path | str) -> Stamp:
    """Return a file's times of change (ns), size and number on its disk, None where there is none.

    The first time is the content's, which a copy may keep; the second no program can set.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  (Path.stat is twice as slow)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def read_entry(path: Path, url_path: str) -> Entry:
    """Return one run's entry; an error of the folder becomes its ``problem``."""
    from cifarlab.run_folder.folder import RunFolder, describe_early_end
    from cifarlab.run_folder.openings import find_start, list_judgements, read_recipe_text

    name, folder = to_utf8(path.name), RunFolder(path)
    try:
        text = read_recipe_text(folder.require())
        stored_result, provenance = folder.result(), folder.provenance()
        line = {} if stored_result is not None else (folder.metrics.read() or [{"epoch": 0}])[-1]
    except RunFolderError as error:
        return Entry(url_path, name, problem=error.what.replace(f"{path}{os.sep}", ""))
    result, progress = flatten(stored_result or {}), flatten(line)
    facts = flatten({key: provenance[key] for key in _FACTS if key in provenance})
    data = str(result.get("data") or facts.get("data.name") or "")
    images = facts.get("data.fingerprint")  # other images may lie at the path today
    epochs, parameters = number(result.get("epochs")), number(result.get("parameters"))
    return Entry(
        url_path,
        name,
        recipe=str(result.get("recipe") or text.name),
        digest=text.digest,
        group=hashlib.sha256(f"{text.key}\n{data}\n{images}".encode()).hexdigest()[:12],
        seed=text.seed,
        data=data,
        is_finished=stored_result is not None,
        early_end=describe_early_end(result),
        epochs=progress.get("epoch", None if epochs is None else int(epochs)),
        test=number(result.get("test.accuracy")),
        interval=pair(result.get("test.interval")),
        val=number((progress or result).get("val.accuracy")),
        seconds=number(result.get("cost.train_seconds")),
        parameters=None if parameters is None else int(parameters),
        last_modified=max(stamp[0] for stamp in run_stamps(path)[:4] if stamp) / 1e9,
        pace=number(progress.get("cost.train_seconds")),
        start=find_start(provenance),
        n_openings=len(list_judgements(provenance)),
        has_plugins="\nplugins: []" not in f"\n{text.key}",
        facts=json.dumps(facts | result),
    )
