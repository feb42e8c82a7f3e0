"""The finalists over other seeds: a study, and the selection bias of its best trial.

The best of N trials is best partly by luck: its score is the highest of N noisy ones. Trained anew
with seeds that the search never saw, the same recipe shows what it is worth.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cifarlab.experiments.engine import Log
from cifarlab.experiments.search.folder import SearchFolder, trial_name
from cifarlab.experiments.search.results import SearchResults
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.study.table import require_baseline
from cifarlab.run_folder.schemas import restore
from cifarlab.stats.paired import Interval, summarize
from cifarlab.system.errors import UserError

MOST = 3  # trials that are trained anew
# a score is the best epoch's validation metric in one view, so the finalists have the same
_MEASURE = {
    "evaluation.test": False,
    "evaluation.checkpoint": "best",
    "evaluation.tta_views": 1,
    "evaluation.tta_fraction": 1.0,
    "evaluation.tta_threshold": None,
}


class SelectionBias(NamedTuple):
    """A finalist's score in the search less its values over other seeds.

    ``excess`` is the mean of that difference, with its 95 % interval from two seeds on.
    """

    trial: int
    score: float
    n: int
    mean: float
    excess: float
    interval: Interval | None


class Finalists(NamedTuple):
    """The finalists' comparison, how each did beside its score, and how many runs failed."""

    comparison: Comparison
    selection_bias: tuple[SelectionBias, ...]
    path: str = ""
    n_failed: int = 0


def retrain_finalists(
    results: SearchResults,
    folder: SearchFolder,
    n_seeds: int,
    jobs: int,
    formats: Sequence[str],
    command: str,
    log: Log,
) -> Finalists:
    """Train the best trials anew with ``n_seeds`` seeds that no trial had, and compare them.

    By the same measure as in the search: the best epoch's validation metric, in one view; the
    test split stays closed. Raises UserError where no trial has a score, and as run_study does.
    """
    scores = {trial_name(number): score for number, score in select_finalists(results).items()}
    study = Study(
        name="finalists",
        about=f"The best trials of {results.search.name} over seeds that the search did not see.",
        metric=next(iter(results.runs.values())).recipe.evaluation.metric,
        first_seed=1 + max(run.recipe.seed for run in results.runs.values()),
        overrides=_MEASURE,
        rows=tuple(
            StudyRow(name=name, recipe=str(folder.path / name / "recipe.yaml")) for name in scores
        ),
    )
    finished = run_study(
        study,
        n_seeds=n_seeds,
        jobs=jobs,
        resume=True,
        runs=folder.path,
        formats=formats,
        command=command,
        log=log,
    )
    selection_bias = tuple(
        measure_selection_bias(number, scores[row.name], list(row.values.values()))
        for number, row in zip(select_finalists(results), finished.comparison.rows, strict=True)
        if row.values
    )
    path = str(finished.folder.path)
    return Finalists(finished.comparison, selection_bias, path, finished.n_failed)


def stored_finalists(results: SearchResults, folder: SearchFolder) -> Finalists | None:
    """Return what an earlier ``retrain_finalists`` gave, if the finalists are still the same."""
    finalists = restore_finalists((folder.content().get("results") or {}).get("finalists"))
    if not finalists or not results.rows:
        return None
    scores = {bias.trial: bias.score for bias in finalists.selection_bias}
    return finalists if scores == select_finalists(results) else None


def restore_finalists(stored: Any) -> Finalists | None:
    """Return the finalists of search.json. Raises RunFolderError."""
    if not stored:
        return None
    what, hint = "the finalists are not as this cifarlab writes them", "use --n-seeds"
    finalists: Finalists = restore(Finalists, stored, what, hint)
    return finalists._replace(comparison=require_baseline(finalists.comparison))


def select_finalists(results: SearchResults) -> dict[int, float]:
    """The scores of the best trials that ran to their end; of all, if none did. Raises UserError.

    A trial that a rung or a time limit ended would be compared with longer runs of its recipe.
    """
    scored = [r for r in results.rows if r.score is not None and not r.trial.failure]
    completed = [row for row in scored if row.trial.stop_reason in ("planned", "early_stopping")]
    selected = (completed or scored)[:MOST]
    if not selected:
        raise UserError("there are no finalists: no trial has a score", "search first")
    return {row.trial.number: row.score for row in selected if row.score is not None}


def measure_selection_bias(number: int, score: float, values: list[float]) -> SelectionBias:
    """Return a score less the values that the same recipe reached with other seeds."""
    excess = summarize([score - value for value in values])
    mean = summarize(values).mean
    return SelectionBias(number, score, excess.n, mean, excess.mean, excess.interval)
