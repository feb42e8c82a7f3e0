"""Which studies, searches and records stand on which runs."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cifarlab.experiments.judge.race import RaceFolder
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.run_folder.index import RunIndex
from cifarlab.system.errors import RunFolderError

EVIDENCE_PARTS = {"predictions"}  # beside the results: a race compares both sides' to the last bit


class Usage(NamedTuple):
    """What a run is used for: ``kind`` is study, search or record, ``name`` its, ``part`` where."""

    kind: str
    name: str
    part: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.part})"


def find_usages(index: RunIndex) -> dict[Path, list[Usage]]:
    """Return what the runs in a folder are used for, by their paths.

    Studies and searches that can't be read are left out; the list of runs names them.
    """
    usages: dict[Path, list[Usage]] = {}
    listing = index.listing()
    for url_path in listing.studies:
        for run, usage in _study_usages(index.root / url_path):
            usages.setdefault(run, []).append(usage)
    searches, races = {*listing.searches}, {*listing.races}
    for entry in listing.runs:
        parent, _, name = entry.url_path.rpartition("/")
        path = index.root / entry.url_path
        if parent in searches:
            usages.setdefault(path, []).append(Usage("search", path.parent.name, name))
        if parent in races:
            usages.setdefault(path, []).append(Usage("record", _race_name(path.parent), name))
    return usages


def _study_usages(path: Path) -> Iterator[tuple[Path, Usage]]:
    folder = StudyFolder(path)
    with suppress(RunFolderError):
        for run in folder.content().get("runs", []):
            if run.get("run"):
                part = f"{run['row']}, seed {run['seed']}"
                yield (path / run["run"]).resolve(), Usage("study", path.name, part)


def _race_name(path: Path) -> str:
    with suppress(RunFolderError):
        return str(RaceFolder(path).content().get("name") or path.name)
    return path.name
