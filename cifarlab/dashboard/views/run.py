"""One run in full; its numbers and curves grow while it trains."""

import asyncio
from dataclasses import replace
from pathlib import Path

from nicegui import ui

from cifarlab.dashboard import charts, figures
from cifarlab.dashboard.frame import PACE, Site, chart, framed, put, section, show_errors
from cifarlab.dashboard.index import stamps
from cifarlab.dashboard.urls import list_url, try_url
from cifarlab.plots import run as plots
from cifarlab.plots.spec import MANY
from cifarlab.report import tables
from cifarlab.report.html import parts, render
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import SPOKEN, RunData, read_runs

_RECIPE, _RESULT, _METRICS, _PROVENANCE = range(4)  # places in ``stamps``
_CURVES = 600  # pixels


async def show(site: Site, url_path: str) -> None:
    """Show the run at ``url_path``, or why it can't be shown."""
    with framed(site, url_path or site.index.root.name), show_errors():
        await _RunView(site, url_path, site.index.path(url_path, "run")).begin()


class _RunView:
    """What is shown of a run, and what it was when it was read."""

    def __init__(self, site: Site, url_path: str, path: Path) -> None:
        self.site, self.url_path, self.path = site, url_path, path

    async def begin(self) -> None:
        self.container = ui.element("div")
        self.stamp = stamps(self.path)
        self.run = await asyncio.to_thread(_read, self.path)
        with self.container:
            self._fill()
        if not self.run.finished:
            ui.timer(PACE, self._poll)

    async def _poll(self) -> None:
        """Read what changed: mostly one more line of the metrics log."""
        now = await asyncio.to_thread(stamps, self.path)
        if now == self.stamp:
            return
        others = [now[n] == self.stamp[n] for n in (_RECIPE, _RESULT, _PROVENANCE)]
        self.stamp = now
        with self.container, show_errors():
            if all(others):
                lines = await asyncio.to_thread(RunFolder(self.path).metrics.read)
                self.run = replace(self.run, lines=lines)
                self._update()
            else:
                self.run = await asyncio.to_thread(_read, self.path)
                self.container.clear()
                self._fill()

    def _fill(self) -> None:
        run = self.run
        put("<h1>{}</h1>", run.name)
        with ui.element("div").classes("actions"):
            if any((self.path / "checkpoints").glob("*.safetensors")):
                put('<a class="action" href="{}">Try an image</a>', try_url(self.url_path))
            here = list_url(find=run.recipe_name)
            put('<a class="action" href="{}">Runs of this recipe</a>', here)
        self.headline = put("")
        with section("How it learned"):
            self.curves = chart(None, _CURVES, "accuracy, loss and learning rate by epoch")
            self.curves.mark("curves")
            _caption("curves", run)
        self._update()
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
                    _charts(run)
        if files := figures.find_figures(self.path):
            with section("Figures of the report and of 'cifarlab explain'"):
                put(figures.sheets(self.site.index, files))
        with section():
            put(render("origins.html", run=run, top=2))

    def _update(self) -> None:
        """Show again all that an epoch changes."""
        self.headline.content = render("headline.html", run=self.run, top=2)
        self.curves.options.clear()
        self.curves.options.update(charts.options(plots.curves(self.run), _CURVES))
        self.curves.update()


def _read(path: Path) -> RunData:
    return read_runs([path])[0]


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


def _charts(run: RunData) -> None:
    with ui.element("div").classes("halves"):
        for kind, plot in (("reliability", plots.reliability(run)), ("shift", plots.shift(run))):
            if plot:
                with ui.element("div"):
                    chart(plot, round(100 * plot.height), kind)
                    _caption(kind, run)
