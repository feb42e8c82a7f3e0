"""Several runs as one, from Python."""

from collections.abc import Sequence
from pathlib import Path

from cifarlab.api.runs import AnyRun, TrainedRun
from cifarlab.config.plugins import plugin_errors, plugin_session


@plugin_errors()
def combine(
    runs: AnyRun | Sequence[AnyRun],
    method: str = "ensemble",
    *,
    row: str | None = None,
    run: Path | str | None = None,
    test: bool = False,
    trust_plugins: bool = False,
) -> TrainedRun:
    """Make one run of several; ``result["combination"]`` says what it gains and what it costs.

    Args:
        runs: finished runs, or the folder of a study
        method: ``ensemble``: mean probabilities; ``soup``: mean weights; ``distilled``: a network
            of the first run's recipe, trained with the ensemble as its teacher
        row: the study's row; without it, the best by mean validation accuracy
        run: the new folder; without it, one under ``runs``
        test: measure on the test images, too; each opening is recorded
        trust_plugins: as in ``load_run``

    Raises:
        UserError: the runs can't be combined, or a soup is worse than its members
        CifarlabError: any of cifarlab.system.errors
    """
    from cifarlab.combining.combine import combine_runs

    several = [runs] if isinstance(runs, TrainedRun | Path | str) else runs
    paths = [r.path if isinstance(r, TrainedRun) else Path(r) for r in several]
    with plugin_session((), trust_plugins):
        folder, _ = combine_runs(paths, method, row=row, run=Path(run) if run else None, test=test)
    return TrainedRun(folder.path)
