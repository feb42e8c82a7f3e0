"""The results of a search, from its record and its run folders.

They can be read while the search is running.
"""

from typing import NamedTuple

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.importance import Importance, measure_importance
from cifarlab.experiments.search.record import Trial, TrialHistory
from cifarlab.metrics.kinds import ACCURACY, MetricFacts
from cifarlab.run_folder.run_data import EpochLines, dig, read_runs
from cifarlab.system.formatting import number


class RungSummary(NamedTuple):
    """A rung: how many trials reached it, how many it stopped, and the last cut-off."""

    rung: int
    n_reached: int
    n_stopped: int
    cutoff: float | None


class SearchResults(NamedTuple):
    """The results that tables and figures show; ``metric`` describes the scores.

    ``rows`` are the trials, the best first, ``logs`` the epochs of each by its number.
    """

    search: Search
    scale: float
    data: str
    rows: tuple[Trial, ...]
    rungs: tuple[RungSummary, ...]
    importance: tuple[Importance, ...]
    logs: dict[int, EpochLines]
    metric: MetricFacts = ACCURACY

    @property
    def best_row(self) -> Trial | None:
        """Return the first row, if it has a score."""
        return next((row for row in self.rows[:1] if row.is_ranked), None)


def read_results(search: Search, scale: float, folder: SearchFolder) -> SearchResults:
    """Read a search's record and the metrics logs of its trials.

    Args:
        search: the search
        scale: its scale
        folder: its folder

    Raises:
        RunFolderError: the record or a run folder is damaged
        RecipeError: the first trial's recipe can't be read
    """
    history, metric = folder.history(), folder.metric
    logs = {n: EpochLines(folder.trial(n).metrics.read()) for n in history.trials}
    for trial in history.trials.values():
        _add_best_epoch(trial, logs[trial.number], metric)
    rows = history.ranking(metric)
    paths = [run.path for n in history.trials if (run := folder.trial(n)).exists][:1]
    trials = [trial for trial in rows if trial.is_ranked]
    values = [metric.sign * (trial.score or 0.0) for trial in trials]
    return SearchResults(
        search,
        scale,
        read_runs(paths, predictions=False)[0].data_name if paths else "",
        tuple(rows),
        tuple(_rung(rung, history) for rung in search.rungs(scale)),
        measure_importance(search.space, [trial.params for trial in trials], values),
        logs,
        metric,
    )


def _add_best_epoch(trial: Trial, log: EpochLines, metric: MetricFacts) -> None:
    """Add what the record does not have: the best epoch; of an unfinished trial all so far."""
    if best := log.best_by(metric):
        trial.best_epoch, trial.score = best
        trial.epochs = log.last_epoch
        line = next(line for line in log.lines if line["epoch"] == trial.best_epoch)
        trial.train_accuracy = number(dig(line, "train", "accuracy"))


def _rung(rung: int, history: TrialHistory) -> RungSummary:
    decisions = list(history.decisions_at(rung).values())
    last_cutoff = next((v.cutoff for v in reversed(decisions) if v.cutoff is not None), None)
    return RungSummary(rung, len(decisions), sum(v.stopped for v in decisions), last_cutoff)
