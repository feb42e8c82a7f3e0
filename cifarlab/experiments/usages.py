"""Which studies, searches and records stand on which runs.

A run alone decides where they are searched: all around it, at the places that cifarlab gives them.
A study takes its runs from the folder that holds its ``studies``, so it is known from each of them.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from cifarlab.run_folder.index import MARKER_FILES, Stamp, file_stamp
from cifarlab.system.errors import RunFolderError

EVIDENCE_PARTS = {"predictions"}  # beside the results: a race compares both sides' to the last bit


class Usage(NamedTuple):
    """What a run is used for.

    ``kind`` is study, search or record, ``name`` its, ``part`` where; ``folder`` is that of the
    study, the search or the record's race.
    """

    kind: str
    name: str
    part: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.part})"


def find_usages(runs: Iterable[Path]) -> dict[Path, list[Usage]]:
    """Return what each run is used for. A study that can't be read may use every run around it.

    Args:
        runs: run folders, without a link in their paths
    """
    studies, enclosing_kind = cache(_studies_in), cache(_collection_kind)
    usages: dict[Path, list[Usage]] = {}
    for run in runs:
        of_run = usages[run] = []
        for study, parts in (pair for parent in run.parents for pair in studies(parent)):
            part = "perhaps: its study.json can't be read"
            if parts is None or (part := parts.get(run, "")):
                of_run.append(Usage("study", study.name, part, study))
        if (kind := enclosing_kind(run.parent)) and kind != "study":
            of_run.append(_enclosing_usage(kind, run))
    return usages


def _enclosing_usage(kind: str, run: Path) -> Usage:
    """Return how the search or the race uses a run that lies in its folder."""
    folder = run.parent
    if kind == "search":
        return Usage("search", folder.name, run.name, folder)
    from cifarlab.experiments.judge.race import RaceFolder  # with all that trains a race's runs

    name = folder.name
    with suppress(RunFolderError):
        name = str(RaceFolder(folder).content().get("name") or name)
    return Usage("record", name, run.name, folder)


def find_collections(run: Path) -> list[Path]:
    """Return the studies, searches and races that a run lies in."""
    return [folder for folder in run.parents if _collection_kind(folder)]


def _collection_kind(folder: Path) -> str | None:
    kinds = (kind for mark, kind in MARKER_FILES.items() if (folder / mark).exists())
    return next(kinds, None)


def _studies_in(folder: Path) -> list[tuple[Path, dict[Path, str] | None]]:
    """Return a folder's studies, or itself if it is one, each with its runs' parts by their paths.

    The runs of a study that can't be read are None.
    """
    files = [folder / "study.json", *(folder / "studies").glob("*/study.json")]
    stamps = ((file, file_stamp(file)) for file in files)
    return [(file.parent, _study_runs(file.parent, stamp)) for file, stamp in stamps if stamp]


@lru_cache(maxsize=1024)
def _study_runs(study: Path, _: Stamp) -> dict[Path, str] | None:
    """Return how a study, whose file has that stamp, uses its runs; None where it can't be read."""
    from cifarlab.experiments.study.folder import StudyFolder

    try:
        runs = StudyFolder(study).content().get("runs", [])
    except RunFolderError:
        return None
    parts: dict[Path, str] = {}
    for run in runs:
        if run.get("run"):
            # a study that is reached by a link names its runs from either place
            for path in (
                (study / run["run"]).resolve(),
                Path(os.path.normpath(study / run["run"])),
            ):
                parts[path] = f"{run['row']}, seed {run['seed']}"
    return parts
