"""What a search found, from its record and its run folders: pure but for reading.

Works on a search that is still running as well.
"""

from typing import NamedTuple

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.importance import Importance, importance
from cifarlab.experiments.search.trial_history import Trial, TrialHistory
from cifarlab.metrics.kinds import ACCURACY, MetricFacts
from cifarlab.run_folder.run_data import RunData, read_runs


class TrialRow(NamedTuple):
    """One trial as the table has it; ``rank`` from 1; ``score`` is of ``best_epoch``, both or none.

    ``train_accuracy`` is the training accuracy of that epoch.
    """

    rank: int
    trial: Trial
    score: float | None
    best_epoch: int | None
    train_accuracy: float | None
    epochs: int


class RungSummary(NamedTuple):
    """One rung: how many trials came, how many it stopped, and the last cut-off."""

    rung: int
    n_reached: int
    n_stopped: int
    cutoff: float | None


class SearchResults(NamedTuple):
    """All that is shown; ``metric`` is what scores are.

    ``runs`` are the trials' run folders by number, as far as they are.
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
        """The first row, if it has a score."""
        first = next(iter(self.rows), None)
        return first if first and first.score is not None and not first.trial.failure else None


def read_results(search: Search, scale: float, folder: SearchFolder) -> SearchResults:
    """Read a search's record and runs. Raises RunFolderError and RecipeError."""
    history, metric = TrialHistory(folder.events()), folder.metric
    numbers = [n for n in history.trials if folder.trial(n).exists]
    read = read_runs([folder.trial(n).path for n in numbers], predictions=False)
    runs = dict(zip(numbers, read, strict=True))
    for number, run in runs.items():  # what an unfinished trial has reached so far
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
        importance(
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
    here = list(history.decisions_at(rung).values())
    last = next((v.cutoff for v in reversed(here) if v.cutoff is not None), None)
    return RungSummary(rung, len(here), sum(v.stopped for v in here), last)
