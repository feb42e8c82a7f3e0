"""The results of a search as tables, a page and plain values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cifarlab.experiments.search.finalists import Finalists, SelectionBias, restore_finalists
from cifarlab.experiments.search.importance import Importance
from cifarlab.experiments.search.record import describe_end, trial_name
from cifarlab.experiments.search.results import RungSummary, SearchResults
from cifarlab.experiments.search.space import format_params
from cifarlab.experiments.study.table import markdown
from cifarlab.metrics.kinds import ACCURACY, MetricFacts
from cifarlab.recipes.scale import describe_scale
from cifarlab.run_folder.schemas import as_json, restore
from cifarlab.system.formatting import NOTHING, TextTable, dicts_to_csv
from cifarlab.system.formatting import markdown_page as page

_RAW_FIELDS = ("score", "train_accuracy", "best_epoch", "epochs", "stop_reason")


def heading(results: SearchResults) -> list[str]:
    """Return the sentences above the table, which hold for all of its numbers."""
    scaled = [] if results.scale == 1 else [describe_scale(results.scale)]
    metric = results.metric
    unit = " in per cent" * metric.percent + ", less is better" * (not metric.higher_is_better)
    return [
        f"{len(results.rows)} trials of up to {results.search.epochs(results.scale)} epochs on "
        f"{results.data}; drawn by {results.search.sampler.kind}, stopped by "
        f"{results.search.scheduler.kind}.",
        *scaled,
        f"Score: the best epoch's validation {metric.title}{unit}; the test split was not opened.",
    ]


def format_rows(results: SearchResults) -> TextTable:
    """Return headers and cells as text, the best trial first."""
    keys, metric = list(results.search.space), results.metric
    cells = [
        (
            str(rank),
            trial_name(trial.number),
            metric.number(trial.score),
            ACCURACY.number(trial.train_accuracy),
            NOTHING if trial.best_epoch is None else str(trial.best_epoch),
            str(trial.epochs),
            describe_end(trial, metric),
            *format_params(trial.params, keys),
        )
        for rank, trial in enumerate(results.rows, 1)
    ]
    headers = ("rank", "trial", "score", "training", "epoch", "epochs", "how it ended", *keys)
    return headers, cells


def format_rungs(rungs: Sequence[RungSummary], metric: MetricFacts) -> TextTable:
    """Return headers and cells of the rungs."""
    return ("rung (epoch)", "trials", "stopped there", "last cut-off"), [
        (str(r.rung), str(r.n_reached), str(r.n_stopped), metric.number(r.cutoff)) for r in rungs
    ]


def format_importance(importances: Sequence[Importance]) -> TextTable:
    """Return headers and cells of the keys' importance."""
    return ("key", "importance", "95 % interval", "by chance up to"), [
        (i.key, f"{i.fraction:.2f}", f"{i.low:.2f} to {i.high:.2f}", f"{i.chance:.2f}")
        for i in importances
    ]


def describe_selection_bias(bias: SelectionBias, metric: MetricFacts) -> str:
    """Return the selection bias of a trial as a sentence."""
    points, interval = " points" if metric.percent else "", "; one seed gives no interval"
    if bias.interval:
        interval = f" (95 % interval {metric.interval(bias.interval, '+')})"
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
    metric, best = results.metric, results.best_row
    parts: list[Any] = [f"# {results.search.name}", results.search.about]
    parts.append(" ".join(heading(results)))
    if best:
        parts.append(
            f"Best: {trial_name(best.number)}, {metric.text(best.score)}, in best.yaml. "
            + ("" if finalists else "The best of many is optimistic: --n-seeds 3 says by how much.")
        )
    if finalists:
        biases = [describe_selection_bias(bias, metric) for bias in finalists.selection_bias]
        comparison = markdown(finalists.comparison).replace("# ", "### ", 1)
        parts += ["## Finalists over other seeds", biases, comparison.strip()]
    parts += ["## Trials", format_rows(results)]
    if results.rungs:
        parts += ["## Rungs", format_rungs(results.rungs, metric)]
    if results.importance:
        parts += ["## What decides", format_importance(results.importance), IMPORTANCE]
    return page([*parts, *(f"![{words}]({file})" for file, words in figures)])


IMPORTANCE = (
    "Importance: each key's fraction in what sets the better trials apart (PED-ANOVA); its "
    "interval by bootstrap over trials. A key that decides nothing exceeds the last column in "
    "5 % of the cases. Trials that were stopped count with the score that they had then; of more "
    "than 200 trials, 200 are looked at."
)


def csv_text(results: SearchResults) -> str:
    """Return a CSV line per trial, numbers unrounded, accuracies as fractions from 0 to 1."""
    return dicts_to_csv(_raw_rows(results))


def _raw_rows(results: SearchResults) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank,
            "trial": trial.number,
            **{name: getattr(trial, name) for name in _RAW_FIELDS},
            "stop_description": describe_end(trial, results.metric),
            **{key: trial.params.get(key) for key in results.search.space},
        }
        for rank, trial in enumerate(results.rows, 1)
    ]


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
    kind = tuple[tuple[RungSummary, ...], tuple[Importance, ...]]
    rungs, keys = restore(kind, (tree.get("rungs"), tree.get("importance")), what, hint)
    return RestoredResults(rungs, keys, restore_finalists(tree.get("finalists")))


def results_as_json(results: SearchResults, finalists: Finalists | None) -> dict[str, Any]:
    """Return plain values for search.json."""
    rows = zip(_raw_rows(results), results.rows, strict=True)
    return {
        "data": results.data,
        "table": [{**raw, "rungs": as_json(trial.rung_decisions)} for raw, trial in rows],
        "rungs": as_json(results.rungs),
        "importance": as_json(results.importance),
        "finalists": as_json(finalists),
    }
