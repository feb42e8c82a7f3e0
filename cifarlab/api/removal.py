"""Delete runs, or parts of them, from Python."""

from collections.abc import Iterable
from pathlib import Path

from cifarlab.api.runs import AnyRun, TrainedRun
from cifarlab.experiments import removal
from cifarlab.experiments.removal_table import RemovalTable as RemovalTable
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.contents import parse_parts
from cifarlab.run_folder.index import RunIndex


def remove_runs(
    runs: Iterable[AnyRun],
    keep: str | None = None,
    *,
    folder: Path | str = RUNS,
    dry_run: bool = False,
    force: bool = False,
    forget_openings: bool = False,
) -> RemovalTable:
    """Delete runs, or all but some parts of them.

    Their openings of the test split stay counted, and a record keeps its evidence.

    Args:
        runs: runs, or their folders
        keep: parts with commas, such as "weights, predictions"; None: the runs are deleted
        folder: the folder of the runs
        dry_run: delete nothing
        force: delete also runs that verdicts stand on
        forget_openings: delete also runs whose openings of the test split can't be read

    Raises:
        UserError: there is no such part, or a study or a search stands on a run, or a path is a
            link or not in the folder
        RunFolderError: a run is in use or none, has changed, or its openings can't be read. In use
            or changed, it stays, and the others are deleted.
        StorageError: the disk refused
    """
    parts = None if keep is None else parse_parts(keep)
    index = RunIndex(Path(folder))
    paths = [run.path if isinstance(run, TrainedRun) else Path(run) for run in runs]
    options = removal.RemovalOptions(parts, force, forget_openings)
    removed = removal.remove_runs(
        index, removal.find_entries(index, paths), options, dry_run=dry_run
    )
    removed.require_complete()
    return removed
