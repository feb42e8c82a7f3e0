"""Delete runs, or parts of them, from Python."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cifarlab.api.runs import AnyRun, TrainedRun
from cifarlab.experiments.removal import (
    Deletion,
    delete_runs,
    describe_removal,
    find_entries,
    plan_removal,
    removal_table,
    require_no_verdicts,
)
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.contents import parse_parts
from cifarlab.run_folder.index import RunIndex

if TYPE_CHECKING:
    import pandas as pd


class RemovalTable:
    """What is, or would be, deleted of each run, and what is lost with it."""

    def __init__(self, plans: Sequence[Deletion], *, is_dry: bool) -> None:
        self.plans, self.is_dry = plans, is_dry

    @property
    def n_bytes(self) -> int:
        """Return how many bytes the disk has more afterwards."""
        return sum(plan.n_bytes for plan in self.plans)

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each run, as the command line prints it."""
        import pandas as pd

        headers, cells = removal_table(self.plans)
        return pd.DataFrame(cells, columns=list(headers))

    def __repr__(self) -> str:
        return "\n".join(describe_removal(self.plans, is_dry=self.is_dry))

    def _repr_html_(self) -> str:
        return str(self.frame.to_html())


def remove_runs(
    runs: Iterable[AnyRun],
    keep: str | None = None,
    *,
    folder: Path | str = RUNS,
    dry_run: bool = False,
    force: bool = False,
) -> RemovalTable:
    """Delete runs, or all but some parts of them.

    Their openings of the test split stay counted, and a record keeps its evidence.

    Args:
        runs: runs, or their folders
        keep: parts with commas, such as "weights, predictions"; None: the runs are deleted
        folder: the folder of the runs, whose studies and searches may stand on them
        dry_run: delete nothing
        force: delete also runs that verdicts stand on

    Raises:
        UserError: there is no such part, or a study or a search stands on a run
        RunFolderError: a run is in use, or is none, or is not in the folder
        StorageError: the disk refused
    """
    parts = None if keep is None else parse_parts(keep)
    index = RunIndex(Path(folder))
    paths = [run.path if isinstance(run, TrainedRun) else Path(run) for run in runs]
    plans = plan_removal(index, find_entries(index, paths), parts)
    if not (dry_run or force):
        require_no_verdicts(plans)
    if not dry_run:
        delete_runs(index, plans, force=force)
    return RemovalTable(plans, is_dry=dry_run)
