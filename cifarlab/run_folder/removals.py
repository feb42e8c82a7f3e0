"""What outlives a removed run: its openings of the test split, in ``removed-openings.jsonl``.

The file lies beside the run, or beside the studies, searches or races that the run is in. Lines are
only ever added, each before its run is deleted. A test set that was looked at stays so, whatever
becomes of the run that looked.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import MARKER_FILES
from cifarlab.run_folder.openings import Judgements, read_judgements
from cifarlab.run_folder.schemas import FORMAT, Count, StoredModel, make_check
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import append_line, lock_folder, read_json_lines

FILE = "removed-openings.jsonl"
_HINT = "restore the file: it is the only record of how often these test images were opened"
_COLLECTIONS = ("studies", "searches", "judge")  # folders that hold them
_WAIT = 60.0  # seconds that another process may take to add a line


class RemovedRun(StoredModel):
    """A line: a run that judged by test images; ``run`` is its path, from the file's folder.

    None stands for what its files no longer said.
    """

    format: Count = FORMAT
    time: str
    run: str
    recipe: str | None
    seed: Count | None
    digest: str | None
    data: str | None
    images: str | None = None
    start: str
    test_openings: list[dict[str, Any]]


def record_removal(folder: RunFolder) -> None:
    """Write down a run's openings of the test split, before the run is deleted.

    Raises:
        RunFolderError: its provenance can't be read, or another process holds the file
        StorageError: the disk refused
    """
    judgements = read_judgements(folder)
    if not judgements.openings:
        return
    root = next(path for path in judgements.run.parents if not _is_collection(path))
    path = judgements.run.relative_to(root).as_posix()
    time = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"format": FORMAT, "time": time, **judgements._asdict(), "run": path}
    facts["test_openings"] = facts.pop("openings")
    what = f"{root} is in use by another process"
    with lock_folder(root, RunFolderError(what, "try again"), _WAIT):
        append_line(root / FILE, json.dumps(facts))


def _is_collection(folder: Path) -> bool:
    """Return whether a folder is a study, search or race, or holds them."""
    return folder.name in _COLLECTIONS or any((folder / mark).exists() for mark in MARKER_FILES)


def find_removals(root: Path) -> Iterator[Judgements]:
    """Yield what removed runs, at any depth under a folder, judged by test images.

    Raises:
        RunFolderError: a file with such runs is damaged
    """
    root = root.resolve()
    for folder in (*root.parents, *_folders_with_removals(root)):
        for line in read_json_lines(folder / FILE, _HINT, make_check(RemovedRun)):
            removed = RemovedRun.model_validate(line)
            run, names = folder / removed.run, Judgements._fields[1:-1]
            if run.is_relative_to(root):
                values = {field: getattr(removed, field) for field in names}
                yield Judgements(run, **values, openings=removed.test_openings)


def _folders_with_removals(root: Path) -> Iterator[Path]:
    for name, subfolders, files in os.walk(root):
        if "recipe.yaml" in files:
            subfolders.clear()
        if FILE in files:
            yield Path(name)
