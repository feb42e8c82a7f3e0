"""The results of a search, from its record and its run folders.

They can be read while the search is running.
"""

from typing import NamedTuple

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.importance import Importance, measure_importance
from cifarlab.experiments.search.trial_history import Trial, TrialHistory
from cifarlab.metrics.kinds import ACCURACY, MetricFacts
from cifarlab.run_folder.run_data import RunData, read_runs


class TrialRow(NamedTuple):
    """A trial as a row of the table.

    ``rank`` is from 1; ``score`` is that of ``best_epoch``, both None before the first epoch;
    ``train_accuracy`` is the training accuracy of that epoch.
    """

    rank: int
    trial: Trial
    score: float | None
    best_epoch: int | None
    train_accuracy: float | None
    epochs: int


class RungSummary(NamedTuple):
    """A rung: how many trials reached it, how many it stopped, and the last cut-off."""

    rung: int
    n_reached: int
    n_stopped: int
    cutoff: float | None


class SearchResults(NamedTuple):
    """The results that tables and figures show; ``metric`` describes the scores.

    ``runs`` are the data of the trials' run folders by trial number, as far as these exist.
    """

    search: Search
    scale: float
    data: str
    rows: tuple[TrialRow, ...]
    rungs: tuple[RungSummary, ...]
    importance: tuple[Importance, ...]
    runs: dict[int, RunData]
    metric: MetricFacts = ACCURACY

    @property
    def best_row(self) -> TrialRow | None:
        """Return the first row, if it has a score."""
        first = next(iter(self.rows), None)
        return first if first and first.score is not None and not first.trial.failure else None


def read_results(search: Search, scale: float, folder: SearchFolder) -> SearchResults:
    """Read a search's record and runs.

    Args:
        search: the search
        scale: its scale
        folder: its folder

    Raises:
        RunFolderError: the record or a run folder is damaged
        RecipeError: a trial's recipe can't be read
    """
    history, metric = TrialHistory(folder.events()), folder.metric
    numbers = [n for n in history.trials if folder.trial(n).exists]
    read = read_runs([folder.trial(n).path for n in numbers], predictions=False)
    runs = dict(zip(numbers, read, strict=True))
    for number, run in runs.items():  # an unfinished trial's score so far
        trial = history.trials[number]
        if trial.score is None and (best := run.best_by(metric)):
            trial.score, trial.epochs = best[1], run.last_epoch
    rows = tuple(
        _row(rank, trial, runs.get(trial.number), metric)
        for rank, trial in enumerate(history.ranking(metric), 1)
    )
    scored = [t for t in history.trials.values() if t.score is not None and not t.failure]
    return SearchResults(
        search,
        scale,
        next((run.data_name for run in runs.values()), ""),
        rows,
        tuple(_rung(rung, history) for rung in search.rungs(scale)),
        measure_importance(
            search.space,
            [t.params for t in scored],
            [metric.sign * (t.score or 0.0) for t in scored],
        ),
        runs,
        metric,
    )


def _row(rank: int, trial: Trial, run: RunData | None, metric: MetricFacts) -> TrialRow:
    best = run.best_by(metric) if run else None
    if run is None or best is None:
        return TrialRow(rank, trial, trial.score, None, None, trial.epochs)
    epoch, score = best
    train = run.curve("train", "accuracy")[list(run.epochs).index(epoch)]
    return TrialRow(rank, trial, score, epoch, float(train), run.last_epoch)


def _rung(rung: int, history: TrialHistory) -> RungSummary:
    decisions = list(history.decisions_at(rung).values())
    last_cutoff = next((v.cutoff for v in reversed(decisions) if v.cutoff is not None), None)
    return RungSummary(rung, len(decisions), sum(v.stopped for v in decisions), last_cutoff)
