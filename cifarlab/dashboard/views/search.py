"""A search: its trials with what was drawn for them, what became of them and why."""

from typing import Any

from cifarlab.dashboard import figures
from cifarlab.dashboard.frame import (
    Site,
    framed,
    put,
    put_table,
    section,
    show_errors,
    watch,
)
from cifarlab.dashboard.index import file_stamp
from cifarlab.dashboard.urls import run_link
from cifarlab.dashboard.views.study import show_comparison
from cifarlab.experiments.search.folder import SearchFolder, trial_name
from cifarlab.experiments.search.space import format_value
from cifarlab.experiments.search.table import (
    IMPORTANCE,
    RestoredResults,
    describe_end,
    describe_selection_bias,
    importance_rows,
    restore_results,
    rung_rows,
)
from cifarlab.experiments.search.trial_history import Trial, TrialHistory
from cifarlab.experiments.writing import NOTHING
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.text import from_yaml
from cifarlab.report.html import parts
from cifarlab.run_folder.run_data import dig


async def show(site: Site, url_path: str) -> None:
    """Show the search at ``url_path``; it is read anew when its record grows."""
    with framed(site, url_path or site.index.root.name), show_errors():
        folder = SearchFolder(site.index.path(url_path, "search"))
        watch(
            lambda: (file_stamp(folder.events_file), file_stamp(folder.file)),
            lambda: _search(site, folder),
        )


def _search(site: Site, folder: SearchFolder) -> None:
    content, metric = folder.content(), folder.metric
    put("<h1>{}</h1>", dig(content, "search", "name") or folder.path.name)
    put("<p>{}</p>", dig(content, "search", "about") or "")
    with section("Its trials"):
        ranked = TrialHistory(folder.events()).ranking(metric)
        by = f"{len(ranked)} trials, best first, by validation {metric.title}."
        put('<p class="soft">{}</p>', by)
        _trials(site, folder, ranked, metric)
    if results := content.get("results"):
        with section("What it found"):
            _show_results(restore_results(results), metric)
    if files := figures.find_figures(folder.path):
        with section("Its figures"):
            put(figures.sheets(site.index, files))
    if folder.best_recipe.exists():
        with section("The best trial's recipe"):
            put(parts().recipe(from_yaml(folder.best_recipe)))


def _trials(site: Site, folder: SearchFolder, ranked: list[Trial], metric: MetricFacts) -> None:
    keys = list(dict.fromkeys(key for trial in ranked for key in trial.params))
    score = "validation (%)" if metric.percent else "validation"
    columns = ("trial", score, "epochs", "how it ended", *keys)
    put_table(columns, [_row(site, folder, trial, keys, metric) for trial in ranked])


def _row(
    site: Site, folder: SearchFolder, trial: Trial, keys: list[str], metric: MetricFacts
) -> tuple[Any, ...]:
    named: Any = trial_name(trial.number)
    run = folder.trial(trial.number)
    if run.exists:
        named = run_link(site.index.url_path(run.path), named)
    score, epochs = trial.score, trial.epochs
    if trial.stop_reason is None and trial.rung_decisions:  # on its way: as at its last rung
        score, epochs = trial.rung_decisions[-1].score, trial.rung_decisions[-1].epoch
    return (
        named,
        metric.number(score),
        epochs,
        describe_end(trial, metric),
        *(format_value(trial.params[key]) if key in trial.params else NOTHING for key in keys),
    )


def _show_results(results: RestoredResults, metric: MetricFacts) -> None:
    if results.finalists:
        put("<h3>Finalists over other seeds</h3>")
        put(
            parts().notes(
                [describe_selection_bias(bias, metric) for bias in results.finalists.selection_bias]
            )
        )
        show_comparison(results.finalists.comparison)
    if results.rungs:
        put("<h3>Rungs</h3>")
        put_table(*rung_rows(results.rungs, metric))
    if results.importance:
        put("<h3>What decides</h3>")
        put_table(*importance_rows(results.importance))
        put('<p class="soft">{}</p>', IMPORTANCE)
