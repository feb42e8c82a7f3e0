"""One run in full; its numbers and curves grow while it trains."""

from dataclasses import replace
from typing import Any

from nicegui import ui

from cifarlab.dashboard import charts, figures
from cifarlab.dashboard.frame import chart, framed, put, section, watch
from cifarlab.dashboard.index import Index
from cifarlab.dashboard.urls import page_url
from cifarlab.plots import run as plots
from cifarlab.plots.spec import MANY
from cifarlab.report import tables
from cifarlab.report.html import parts, render
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import SPOKEN, RunData, read_runs

_CURVES = 600  # pixels


async def show(index: Index, url_path: str) -> None:
    """Show the run at ``url_path``, or why it can't be shown."""
    with framed(index, url_path or index.root.name):
        folder = RunFolder(index.path(url_path, "run"))

        async def fill(run: RunData) -> None:
            put("<h1>{}</h1>", run.name)
            _actions(run, url_path)
            await _growing(run, folder)
            _rest(index, run)

        files = [folder.recipe_file, folder.result_file, folder.provenance_file]
        await watch(files, lambda: read_runs([folder.path])[0], fill)


def _actions(run: RunData, url_path: str) -> None:
    with ui.element("div").classes("actions"):
        if any((run.path / "checkpoints").glob("*.safetensors")):
            put('<a class="action" href="{}">Try an image</a>', page_url("/try", run=url_path))
        alike = page_url("/", find=run.recipe_name)
        put('<a class="action" href="{}">Runs of this recipe</a>', alike)


async def _growing(run: RunData, folder: RunFolder) -> None:
    """Show all that an epoch changes, which is one more line of the metrics log."""
    headline = put("")
    with section("How it learned"):
        curves = chart(None, _CURVES, "accuracy, loss and learning rate by epoch").mark("curves")
        _caption("curves", run)

    async def update(lines: list[Any]) -> None:
        now = replace(run, lines=lines)
        headline.content = render("headline.html", run=now, top=2)
        curves.options.clear()
        curves.options.update(charts.options(plots.curves(now), _CURVES))
        curves.update()

    await watch([folder.metrics.path], folder.metrics.read, update)


def _rest(index: Index, run: RunData) -> None:
    if run.split_name:
        with section(f"Where it fails: {SPOKEN[run.split_name]} split of {run.data_name}"):
            if rows := plots.class_rows(run):
                put(parts().bars(plots.ranked_classes(rows)))
                _caption("classes", run)
            _confusion(run)
    for template in ("mistakes", "evaluation", "audit"):
        with section():
            put(render(f"{template}.html", run=run, pictures={}, top=2))
            if template == "evaluation":
                _evaluation_charts(run)
    if files := figures.find_figures(run.path):
        with section("Figures of the report and of 'cifarlab explain'"):
            put(figures.sheets(index, files))
    with section():
        put(render("origins.html", run=run, top=2))


def _caption(kind: str, run: RunData) -> None:
    put('<p class="soft">{}</p>', parts().caption(kind, run))


def _confusion(run: RunData) -> None:
    plot = plots.confusion(run)
    if plot is None:
        return
    with ui.element("div").classes("halves"):
        with ui.element("div"):
            few = len(plot.panels[0].x.names) <= MANY
            chart(plot, 440 if few else 600, "confusion matrix")
            _caption("confusion", run)
        with ui.element("div"):
            put("<h3>Most confused pairs</h3>{}", parts().table(tables.confused(run)))


def _evaluation_charts(run: RunData) -> None:
    with ui.element("div").classes("halves"):
        for kind, plot in (("reliability", plots.reliability(run)), ("shift", plots.shift(run))):
            if plot:
                with ui.element("div"):
                    chart(plot, round(100 * plot.height), kind)
                    _caption(kind, run)
