"""The finalists over other seeds: a study, and by how much the search flattered its best trial.

The best of N trials is best partly by luck: its score is the highest of N noisy ones. Trained anew
with seeds that the search never saw, the same recipe shows what it is worth.
"""

from typing import Any, NamedTuple

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.event_log import Tell
from cifarlab.experiments.search.folder import SearchFolder, trial_name
from cifarlab.experiments.search.results import Explained
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Row, Study
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.study.table import comparison_of
from cifarlab.runs.schemas import restore
from cifarlab.stats.paired import Interval, summary
from cifarlab.system.errors import UserError

MOST = 3  # trials that are trained anew
# a score is the best epoch's validation accuracy in one view, so the finalists have the same
_MEASURE = {
    "evaluation.test": False,
    "evaluation.checkpoint": "best",
    "evaluation.views": 1,
    "evaluation.unsure": 1.0,
    "evaluation.tta_threshold": None,
}


class Flattery(NamedTuple):
    """A finalist's score in the search less its accuracies over other seeds, as shares.

    ``excess`` is the mean of that difference, with its 95 % interval from two seeds on.
    """

    trial: int
    score: float
    n: int
    mean: float
    excess: float
    interval: Interval | None


class Finals(NamedTuple):
    """The finalists' comparison, how each did beside its score, and how many runs failed."""

    comparison: Comparison
    flattery: tuple[Flattery, ...]
    path: str
    failed: int = 0


def rerun(
    search: Search,
    explained: Explained,
    folder: SearchFolder,
    seeds: int,
    jobs: int,
    command: str,
    tell: Tell,
) -> Finals:
    """Train the best trials anew with ``seeds`` seeds that no trial had, and compare them.

    By the same measure as in the search: the best epoch's validation accuracy, in one view; the
    test split stays closed. Raises UserError where no trial has a score, and as run_study does.
    """
    chosen = finalists(explained)
    scores = {trial_name(number): score for number, score in chosen.items()}
    study = Study(
        name="finalists",
        about=f"The best trials of {search.name} over seeds that the search did not see.",
        first_seed=1 + max(run.recipe.seed for run in explained.runs.values()),
        changes=_MEASURE,
        rows=tuple(
            Row(name=name, recipe=str(folder.path / name / "recipe.yaml")) for name in scores
        ),
    )
    studied = run_study(
        study, seeds=seeds, jobs=jobs, resume=True, runs=folder.path, command=command, tell=tell
    )
    flattery = []
    for number, score in chosen.items():
        line = next(x for x in studied.comparison.lines if x.row == trial_name(number))
        if line.accuracies:
            flattery.append(flattered(number, score, list(line.accuracies.values())))
    return Finals(studied.comparison, tuple(flattery), str(studied.folder.path), studied.failed)


def earlier(explained: Explained, folder: SearchFolder) -> Finals | None:
    """What an earlier call of ``rerun`` found, where the finalists are still the same."""
    told = (folder.content().get("found") or {}).get("finals")
    if not told or not explained.rows:
        return None
    flattery = flattery_of(told.get("flattery"))
    if {one.trial: one.score for one in flattery} != finalists(explained):
        return None
    failed = told.get("failed")
    return Finals(
        comparison_of(told.get("comparison")),
        flattery,
        str(told.get("path")),
        failed if isinstance(failed, int) else 0,
    )


def flattery_of(told: Any) -> tuple[Flattery, ...]:
    """What search.json tells of finalists."""
    flattery: tuple[Flattery, ...] = restore(
        tuple[Flattery, ...],
        told,
        "the finalists are not as this cifarlab writes them",
        "use --seeds",
    )
    return flattery


def finalists(explained: Explained) -> dict[int, float]:
    """The scores of the best trials that ran to their end; of all, if none did. Raises UserError.

    A trial that a rung or a budget ended would be compared with longer runs of its recipe.
    """
    scored = [r for r in explained.rows if r.score is not None and not r.trial.failure]
    whole = [row for row in scored if row.trial.why in ("planned", "patience")]
    chosen = (whole or scored)[:MOST]
    if not chosen:
        raise UserError("there are no finalists: no trial has a score", "search first")
    return {row.trial.number: row.score for row in chosen if row.score is not None}


def flattered(number: int, score: float, accuracies: list[float]) -> Flattery:
    """A score beside what the same recipe reached with other seeds."""
    excess = summary([score - accuracy for accuracy in accuracies])
    mean = summary(accuracies).mean
    return Flattery(number, score, excess.n, mean, excess.mean, excess.interval)
