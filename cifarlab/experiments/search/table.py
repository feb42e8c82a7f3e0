"""The results of a search as tables, a page and plain values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cifarlab.experiments.search.finalists import Finalists, SelectionBias, restore_finalists
from cifarlab.experiments.search.folder import trial_name
from cifarlab.experiments.search.importance import Importance
from cifarlab.experiments.search.results import RungSummary, SearchResults, TrialRow
from cifarlab.experiments.search.space import format_value
from cifarlab.experiments.search.trial_history import Trial, describe_stop
from cifarlab.experiments.study.table import markdown
from cifarlab.experiments.writing import NOTHING, as_json, csv_table, describe_scale, markdown_table
from cifarlab.metrics.kinds import ACCURACY, MetricFacts
from cifarlab.run_folder.schemas import restore

_STOP_REASONS = {
    "planned": "ran to its end",
    "early_stopping": "ended by early stopping",
    "max_time": "ended by its time limit",
    None: "not finished",
}


def heading(results: SearchResults) -> list[str]:
    """Return the sentences above the table, which hold for all of its numbers."""
    scaled = [] if results.scale == 1 else [describe_scale(results.scale)]
    metric = results.metric
    unit = (" in per cent" if metric.percent else "") + (
        "" if metric.higher_is_better else ", less is better"
    )
    return [
        f"{len(results.rows)} trials of up to {results.search.epochs(results.scale)} epochs on "
        f"{results.data}; drawn by {results.search.sampler.kind}, stopped by "
        f"{results.search.scheduler.kind}.",
        *scaled,
        f"Score: the best epoch's validation {metric.title}{unit}; the test split was not opened.",
    ]


def format_rows(results: SearchResults) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headers and cells as text, the best trial first."""
    cells = [_cells(row, list(results.search.space), results.metric) for row in results.rows]
    return tuple(cells[0]) if cells else (), [tuple(row.values()) for row in cells]


def _cells(row: TrialRow, keys: Sequence[str], metric: MetricFacts) -> dict[str, str]:
    params = row.trial.params
    return {
        "rank": str(row.rank),
        "trial": trial_name(row.trial.number),
        "score": metric.number(row.score),
        "training": ACCURACY.number(row.train_accuracy),
        "epoch": NOTHING if row.best_epoch is None else str(row.best_epoch),
        "epochs": str(row.epochs),
        "how it ended": describe_end(row.trial, metric),
        **{key: format_value(params[key]) if key in params else NOTHING for key in keys},
    }


def describe_end(trial: Trial, metric: MetricFacts) -> str:
    """Return how a trial ended, in words."""
    if trial.failure:
        return f"failed: {trial.failure['what']}"
    if stop := next((v for v in trial.rung_decisions if v.stopped), None):
        return f"stopped {describe_stop(stop._asdict(), metric)}"
    return _STOP_REASONS[trial.stop_reason]


def format_rungs(
    rungs: Sequence[RungSummary], metric: MetricFacts
) -> tuple[tuple[str, ...], Sequence[tuple[str, ...]]]:
    """Return headers and cells of the rungs."""
    cells = [
        (str(r.rung), str(r.n_reached), str(r.n_stopped), metric.number(r.cutoff)) for r in rungs
    ]
    return ("rung (epoch)", "trials", "stopped there", "last cut-off"), cells


def format_importance(
    importances: Sequence[Importance],
) -> tuple[tuple[str, ...], Sequence[tuple[str, ...]]]:
    """Return headers and cells of the keys' importance."""
    return ("key", "importance", "95 % interval", "by chance up to"), [
        (i.key, f"{i.fraction:.2f}", f"{i.low:.2f} to {i.high:.2f}", f"{i.chance:.2f}")
        for i in importances
    ]


def describe_selection_bias(bias: SelectionBias, metric: MetricFacts) -> str:
    """Return the selection bias of a trial as a sentence."""
    reach, points = bias.interval, " points" if metric.percent else ""
    interval = "; one seed gives no interval"
    if reach:
        low, high = (metric.number(end, "+") for end in reach)
        interval = f" (95 % interval {low} to {high})"
    return (
        f"{trial_name(bias.trial)}: {metric.text(bias.score)} in the search, "
        f"{metric.text(bias.mean)} over {bias.n} other seed{'s' if bias.n > 1 else ''}: the "
        f"search's number was {metric.number(bias.excess, '+')}{points} off{interval}."
    )


def markdown_page(
    results: SearchResults, finalists: Finalists | None, figures: Sequence[tuple[str, str]]
) -> str:
    """Return the search as a Markdown page.

    Args:
        results: the results
        finalists: the finalists over other seeds, if they were trained
        figures: (file, alt text) of each figure
    """
    parts = [f"# {results.search.name}", results.search.about, " ".join(heading(results))]
    if results.best_row:
        parts.append(
            f"Best: {trial_name(results.best_row.trial.number)}, "
            f"{results.metric.text(results.best_row.score)}, in best.yaml. "
            + ("" if finalists else "The best of many is optimistic: --n-seeds 3 says by how much.")
        )
    if finalists:
        words = "\n".join(
            f"- {describe_selection_bias(bias, results.metric)}"
            for bias in finalists.selection_bias
        )
        comparison = markdown(finalists.comparison).replace("# ", "### ", 1)
        parts += ["## Finalists over other seeds", words, comparison.strip()]
    parts += ["## Trials", markdown_table(*format_rows(results))]
    if results.rungs:
        parts += ["## Rungs", markdown_table(*format_rungs(results.rungs, results.metric))]
    if results.importance:
        parts += [
            "## What decides",
            markdown_table(*format_importance(results.importance)),
            IMPORTANCE,
        ]
    parts += [f"![{words}]({file})" for file, words in figures]
    return "\n\n".join(part for part in parts if part) + "\n"


IMPORTANCE = (
    "Importance: each key's fraction in what sets the better trials apart (PED-ANOVA); its "
    "interval by bootstrap over trials. A key that decides nothing exceeds the last column in "
    "5 % of the cases. Trials that were stopped count with the score that they had then; of more "
    "than 200 trials, 200 are looked at."
)


def csv_text(results: SearchResults) -> str:
    """Return a CSV line per trial, numbers unrounded, accuracies as fractions from 0 to 1."""
    keys = list(results.search.space)
    return csv_table([_raw_values(row, keys, results.metric) for row in results.rows])


def _raw_values(row: TrialRow, keys: Sequence[str], metric: MetricFacts) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "trial": row.trial.number,
        "score": row.score,
        "train_accuracy": row.train_accuracy,
        "best_epoch": row.best_epoch,
        "epochs": row.epochs,
        "stop_reason": row.trial.stop_reason,
        "stop_description": describe_end(row.trial, metric),
        **{key: row.trial.params.get(key) for key in keys},
    }


class RestoredResults(NamedTuple):
    """The results that search.json keeps besides the trials."""

    rungs: tuple[RungSummary, ...]
    importance: tuple[Importance, ...]
    finalists: Finalists | None


def restore_results(tree: dict[str, Any]) -> RestoredResults:
    """Return the results from what ``results_as_json`` made of them.

    Raises:
        RunFolderError: the values are no results of a search
    """
    what = "what was found is not as this cifarlab writes it"
    hint = "run the search again with --resume: finished trials are taken as they are"
    return RestoredResults(
        restore(tuple[RungSummary, ...], tree.get("rungs"), what, hint),
        restore(tuple[Importance, ...], tree.get("importance"), what, hint),
        restore_finalists(tree.get("finalists")),
    )


def results_as_json(results: SearchResults, finalists: Finalists | None) -> dict[str, Any]:
    """Return plain values for search.json."""
    keys = list(results.search.space)
    return {
        "data": results.data,
        "table": [
            {**_raw_values(row, keys, results.metric), "rungs": as_json(row.trial.rung_decisions)}
            for row in results.rows
        ],
        "rungs": as_json(results.rungs),
        "importance": as_json(results.importance),
        "finalists": as_json(finalists),
    }
