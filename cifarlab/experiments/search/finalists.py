"""The finalists over other seeds: a study, and the selection bias of the best trials.

The best of N trials is best partly by luck: its score is the highest of N noisy ones. Trained again
with seeds that the search did not use, the same recipe shows its real value.
"""

import time
from math import inf
from typing import Any, NamedTuple

from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.record import trial_name
from cifarlab.experiments.search.results import SearchResults
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.study.table import require_baseline
from cifarlab.run_folder.openings import read_recipe_text
from cifarlab.run_folder.schemas import restore
from cifarlab.stats.paired import Interval, summarize
from cifarlab.system.errors import UserError

MAX_FINALISTS = 3  # trials that are trained again
# as in the search: the best epoch's validation metric, in one view
_EVALUATION = {
    "evaluation.test": False,
    "evaluation.checkpoint": "best",
    "evaluation.tta_views": 1,
    "evaluation.tta_fraction": 1.0,
    "evaluation.tta_threshold": None,
}


class SelectionBias(NamedTuple):
    """A finalist's score in the search minus its values over other seeds.

    ``excess`` is the mean of that difference, with a 95 % interval if there are two seeds or more.
    """

    trial: int
    score: float
    n: int
    mean: float
    excess: float
    interval: Interval | None


class Finalists(NamedTuple):
    """The comparison of the finalists, the bias of each one's score, and how many runs failed."""

    comparison: Comparison
    selection_bias: tuple[SelectionBias, ...]
    path: str = ""
    n_failed: int = 0


def retrain_finalists(
    results: SearchResults,
    folder: SearchFolder,
    n_seeds: int,
    end: float = inf,
    **options: Any,
) -> Finalists | None:
    """Train the best trials with new seeds and compare them; None if no run had the time for it.

    They are measured as in the search: the best epoch's validation metric, in one view; the test
    split stays closed.

    Args:
        results: the results of the search
        folder: the search's folder
        n_seeds: seeds per finalist; no trial had one of them
        end: when (``time.monotonic``) they are left
        **options: as ``run_study`` takes them

    Raises:
        UserError: no trial has a score
        StorageError: the disk can't be written to
        Interrupted: a signal arrived
        FailedRunsError: all runs failed
    """
    finalists = select_finalists(results)
    trials = [folder.trial(row.number) for row in results.rows]
    study = Study(
        name=f"finalists-{'-'.join(f'{n:03}' for n in finalists)}-seeds-{n_seeds}",
        about=f"The best trials of {results.search.name} over seeds that the search did not see.",
        metric=folder.trial(next(iter(finalists))).recipe().evaluation.metric,
        first_seed=1 + max(read_recipe_text(run).seed for run in trials if run.exists),
        overrides=_EVALUATION,
        rows=tuple(
            StudyRow(name=trial_name(n), recipe=str(folder.trial(n).path / "recipe.yaml"))
            for n in finalists
        ),
    )
    try:
        study_end = run_study(
            study, n_seeds=n_seeds, resume=True, runs=folder.path, end=end, **options
        )
    except UserError:
        if time.monotonic() < end:
            raise
        return None
    selection_bias = tuple(
        measure_selection_bias(*trial, list(row.values.values()))
        for trial, row in zip(finalists.items(), study_end.comparison.rows, strict=True)
        if row.values
    )
    comparison = study_end.comparison._replace(runs=())
    return Finalists(comparison, selection_bias, str(study_end.folder.path), study_end.n_failed)


def read_finalists(results: SearchResults, folder: SearchFolder) -> Finalists | None:
    """Return the finalists in search.json, if the best trials are still the same."""
    finalists = restore_finalists((folder.content().get("results") or {}).get("finalists"))
    if not finalists or not results.rows:
        return None
    scores = {bias.trial: bias.score for bias in finalists.selection_bias}
    return finalists if scores == select_finalists(results) else None


def restore_finalists(tree: Any) -> Finalists | None:
    """Return finalists from plain values; None where there are none.

    Raises:
        RunFolderError: the values are no finalists
    """
    if not tree:
        return None
    what, hint = "the finalists are not as this cifarlab writes them", "use --n-seeds"
    finalists: Finalists = restore(Finalists, tree, what, hint)
    return finalists._replace(comparison=require_baseline(finalists.comparison))


def select_finalists(results: SearchResults) -> dict[int, float]:
    """Return the scores of the best trials that ran to their end; of the best of all, if none did.

    A trial that a rung or a time limit ended would be compared with longer runs of its recipe.

    Raises:
        UserError: no trial has a score
    """
    scored = [row for row in results.rows if row.is_ranked]
    completed = [row for row in scored if row.stop_reason in ("planned", "early_stopping")]
    best_rows = (completed or scored)[:MAX_FINALISTS]
    if not best_rows:
        raise UserError("there are no finalists: no trial has a score", "search first")
    return {row.number: row.score for row in best_rows if row.score is not None}


def measure_selection_bias(number: int, score: float, values: list[float]) -> SelectionBias:
    """Return a score minus the values that the same recipe reached with other seeds.

    Args:
        number: the trial
        score: its score in the search
        values: the metric over other seeds
    """
    mean, excess = summarize(values).mean, summarize([score - value for value in values])
    return SelectionBias(number, score, excess.n, mean, excess.mean, excess.interval)
