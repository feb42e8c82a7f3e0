"""One run in full; its numbers and curves are live while it trains."""

from dataclasses import replace
from typing import Any

from nicegui import ui

from cifarlab.dashboard import charts, figures
from cifarlab.dashboard.frame import add_chart, page_frame, put, section, watch
from cifarlab.dashboard.index import Index
from cifarlab.dashboard.urls import page_url
from cifarlab.plots import run as plots
from cifarlab.plots.spec import MANY
from cifarlab.report import tables
from cifarlab.report.html import parts, render
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData, read_runs

_CURVES = 600  # pixels


async def show(index: Index, url_path: str) -> None:
    """Show the run at ``url_path``, or why it can't be shown."""
    with page_frame(index, url_path or index.root.name):
        folder = RunFolder(index.path(url_path, "run"))

        async def fill(run: RunData) -> None:
            put("<h1>{}</h1>", run.name)
            _add_actions(run, url_path)
            await _add_curves(run, folder)
            _add_details(index, run)

        files = [folder.recipe_file, folder.result_file, folder.provenance_file]
        await watch(files, lambda: read_runs([folder.path])[0], fill)


def _add_actions(run: RunData, url_path: str) -> None:
    with ui.element("div").classes("actions"):
        if any((run.path / "checkpoints").glob("*.safetensors")):
            put('<a class="action" href="{}">Try an image</a>', page_url("/try", run=url_path))
        recipe_url = page_url("/", search=run.recipe_name)
        put('<a class="action" href="{}">Runs of this recipe</a>', recipe_url)


async def _add_curves(run: RunData, folder: RunFolder) -> None:
    """Add the headline and the curves, which follow the metrics log."""
    headline = put("")
    with section("How it learned"):
        curves = add_chart(None, _CURVES, "accuracy, loss and learning rate by epoch")
        _add_caption("curves", run)

    async def update(lines: list[Any]) -> None:
        newest = replace(run, lines=lines)
        headline.content = render("headline.html", run=newest, top=2)
        curves.options.clear()
        curves.options.update(charts.chart_options(plots.curves(newest), _CURVES))
        curves.update()

    await watch([folder.metrics.path], folder.metrics.read, update)


def _add_details(index: Index, run: RunData) -> None:
    if run.split_name:
        with section(f"Where it fails: {SPLIT_NAMES[run.split_name]} split of {run.data_name}"):
            if rows := plots.per_class_rows(run):
                put(parts().bars(plots.ranked_classes(rows)))
                _add_caption("classes", run)
            _add_confusion_matrix(run)
    for template in ("mistakes", "evaluation", "audit"):
        with section():
            put(render(f"{template}.html", run=run, pictures={}, top=2))
            if template == "evaluation":
                _add_evaluation_charts(run)
    if files := figures.find_figures(run.path):
        with section("Figures of the report and of 'cifarlab explain'"):
            put(figures.figure_sheets(index, files))
    with section():
        put(render("provenance.html", run=run, top=2))


def _add_caption(kind: str, run: RunData) -> None:
    put('<p class="muted">{}</p>', parts().caption(kind, run))


def _add_confusion_matrix(run: RunData) -> None:
    plot = plots.confusion(run)
    if plot is None:
        return
    with ui.element("div").classes("halves"):
        with ui.element("div"):
            few = len(plot.panels[0].x.names) <= MANY
            add_chart(plot, 440 if few else 600, "confusion matrix")
            _add_caption("confusion", run)
        with ui.element("div"):
            put("<h3>Most confused pairs</h3>{}", parts().table(tables.confused_pairs(run)))
            counts = parts().table(tables.prediction_counts(run))
            put("<h3>How often each class is predicted</h3>{}", counts)
    if theirs := tables.reported_confusion(run):
        table = parts().table(theirs)
        put("<details><summary>The confusion matrix of the report</summary>{}</details>", table)


def _add_evaluation_charts(run: RunData) -> None:
    with ui.element("div").classes("halves"):
        for kind, plot in (("reliability", plots.reliability(run)), ("shift", plots.shift(run))):
            if plot:
                with ui.element("div"):
                    add_chart(plot, round(100 * plot.height), kind)
                    _add_caption(kind, run)
