"""What a search found, from its record and its run folders: pure but for reading, and for writing.

Works on a search that is still running as well.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cifarlab.errors import MissingExtraError
from cifarlab.report.content import Run, read_runs
from cifarlab.search.definition import Search
from cifarlab.search.finalists import Finals
from cifarlab.search.folder import SearchFolder
from cifarlab.search.importance import Importance, importance
from cifarlab.search.ledger import Ledger, Trial, Verdict
from cifarlab.storage import write_text


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
    runs: dict[int, Run]

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


def _row(place: int, trial: Trial, run: Run | None) -> Row:
    if run is None or run.best is None:
        return Row(place, trial, trial.score, None, None, trial.epochs)
    epoch, score = run.best
    train = run.curve("train", "accuracy")[list(run.epochs).index(epoch)]
    return Row(place, trial, score, epoch, float(train), run.last_epoch)


def _rung(rung: int, ledger: Ledger) -> Rung:
    here = [verdict for _, verdict in ledger.verdicts if verdict.rung == rung]
    last = next((v.cutoff for v in reversed(here) if v.cutoff is not None), None)
    return Rung(rung, len(here), sum(v.stopped for v in here), last)


def write_explained(of: Explained, finals: Finals | None, folder: SearchFolder) -> list[str]:
    """Write table, page and figures; what could not be made, in words. Raises StorageError."""
    from cifarlab.search.table import as_tree, csv_text, page

    folder.write({**folder.content(), "found": as_tree(of, finals)})
    if not of.rows:
        return []
    write_text(folder.path / "table.csv", csv_text(of))
    problems, names = _figures(of, folder.path / "figures")
    write_text(folder.path / "page.md", page(of, finals, names))
    return problems


def _figures(of: Explained, place: Path) -> tuple[list[str], Sequence[tuple[str, str]]]:
    """What could not be drawn, and (file, what it shows) of each figure."""
    try:
        from cifarlab.report import require_extra

        require_extra()
    except MissingExtraError as error:
        return [f"no figures: {error.what}; {error.hint}"], []
    from cifarlab.report.style import save
    from cifarlab.search.figures import pictures

    made = pictures(of)
    for picture in made:
        save(picture, place)
    return [], [(f"figures/{picture.slug}.svg", picture.alt) for picture in made]
