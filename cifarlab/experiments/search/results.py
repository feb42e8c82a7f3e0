"""What a search found, from its record and its run folders: pure but for reading.

Works on a search that is still running as well.
"""

from typing import NamedTuple

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.importance import Importance, importance
from cifarlab.experiments.search.trial_history import Ledger, Trial, Verdict
from cifarlab.report.run_data import RunData, read_runs


class Row(NamedTuple):
    """One trial as the table has it; ``rank`` from 1; ``score`` is of epoch ``best``, both or none.

    ``train`` is the training accuracy of that epoch.
    """

    rank: int
    trial: Trial
    score: float | None
    best: int | None
    train: float | None
    epochs: int


class Rung(NamedTuple):
    """One rung: how many trials came, how many it stopped, and the last cut-off."""

    rung: int
    came: int
    stopped: int
    cutoff: float | None


class Explained(NamedTuple):
    """All that is shown; ``runs`` are the trials' run folders by number, as far as they are."""

    search: Search
    scale: float
    data: str
    rows: tuple[Row, ...]
    rungs: tuple[Rung, ...]
    importance: tuple[Importance, ...]
    runs: dict[int, RunData]

    @property
    def verdicts(self) -> list[tuple[int, Verdict]]:
        """Every decision, with its trial's number."""
        return [(row.trial.number, verdict) for row in self.rows for verdict in row.trial.verdicts]

    @property
    def best(self) -> Row | None:
        """The first row, if it has a score."""
        first = next(iter(self.rows), None)
        return first if first and first.score is not None and not first.trial.failure else None


def explain(search: Search, scale: float, folder: SearchFolder) -> Explained:
    """Read a search's record and runs. Raises RunFolderError and RecipeError."""
    ledger = Ledger(folder.events())
    there = [n for n in ledger.trials if folder.trial(n).exists]
    read = read_runs([folder.trial(n).path for n in there], predictions=False)
    runs = dict(zip(there, read, strict=True))
    for number, run in runs.items():  # what an unfinished trial has reached so far
        trial = ledger.trials[number]
        if trial.score is None and run.best:
            trial.score, trial.epochs = run.best[1], run.last_epoch
    rows = tuple(
        _row(place, trial, runs.get(trial.number)) for place, trial in enumerate(ledger.ranked(), 1)
    )
    scored = [t for t in ledger.trials.values() if t.score is not None and not t.failure]
    return Explained(
        search,
        scale,
        next((run.data_name for run in runs.values()), ""),
        rows,
        tuple(_rung(rung, ledger) for rung in search.rungs(scale)),
        importance(search.space, [t.values for t in scored], [t.score or 0.0 for t in scored]),
        runs,
    )


def _row(place: int, trial: Trial, run: RunData | None) -> Row:
    if run is None or run.best is None:
        return Row(place, trial, trial.score, None, None, trial.epochs)
    epoch, score = run.best
    train = run.curve("train", "accuracy")[list(run.epochs).index(epoch)]
    return Row(place, trial, score, epoch, float(train), run.last_epoch)


def _rung(rung: int, ledger: Ledger) -> Rung:
    here = [verdict for _, verdict in ledger.verdicts if verdict.rung == rung]
    last = next((v.cutoff for v in reversed(here) if v.cutoff is not None), None)
    return Rung(rung, len(here), sum(v.stopped for v in here), last)
