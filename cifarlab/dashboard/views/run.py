"""One run in full; its numbers and curves grow while it trains."""

import asyncio
from dataclasses import replace
from pathlib import Path

from nicegui import ui

from cifarlab.dashboard import charts, figures, html
from cifarlab.dashboard.frame import PACE, Site, chart, framed, put, section, show_errors
from cifarlab.dashboard.index import stamps
from cifarlab.dashboard.urls import list_url, try_url
from cifarlab.dashboard.views.measured import audited, examination
from cifarlab.report import provenance, settings, tables
from cifarlab.report.compare import state
from cifarlab.report.diagnosis import diagnose
from cifarlab.report.mistakes import confident, worst
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import SPOKEN, RunData, read_runs

_RECIPE, _RESULT, _METRICS, _PROVENANCE = range(4)  # places in ``stamps``


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
        put(f"<h1>{html.text(run.name)}</h1>")
        self.about = put("", "soft")
        self.numbers = put("", "numbers")
        with ui.element("div").classes("actions"):
            if any((self.path / "checkpoints").glob("*.safetensors")):
                put(f'<a class="action" href="{try_url(self.url_path)}">Try an image</a>')
            here = list_url(find=run.recipe_name)
            put(f'<a class="action" href="{here}">Runs of this recipe</a>')
        self.facts = put("")
        self.remarks = put("")
        with section("How it learned"):
            caption = "accuracy, loss and learning rate by epoch"
            self.curves = chart(charts.curves(run), 600, caption).mark("curves")
            put(
                '<p class="soft">Training values are means over the epoch, on the images as '
                "trained (augmented). Ring: best validation; diamond: test.</p>"
            )
        self._update()
        _failures(run)
        examination(run)
        audited(run)
        if files := figures.find_figures(self.path):
            with section("Figures of the report and of 'cifarlab explain'"):
                put(figures.sheets(self.site.index, files))
        _origins(run)

    def _update(self) -> None:
        """Show again all that an epoch changes."""
        run = self.run
        caption = (run.recipe_name, run.data_name, state(run))
        self.about.content = html.text(" · ".join(caption))
        self.numbers.content = html.big(tables.accuracies(run), run.data_name)
        self.facts.content = html.facts(tables.facts(run))
        findings = diagnose(run)
        findings_html = f"<h2>What its curves say</h2>{html.findings(findings)}" if findings else ""
        self.remarks.content = html.notes(tables.notes(run)) + findings_html
        self.curves.options.clear()
        self.curves.options.update(charts.curves(run))
        self.curves.update()


def _read(path: Path) -> RunData:
    return read_runs([path])[0]


def _failures(run: RunData) -> None:
    """Show where it fails: classes, confusions, the worst mistakes."""
    if run.split_name:
        with section(f"Where it fails: {SPOKEN[run.split_name]} split of {run.data_name}"):
            if rows := tables.class_rows(run):
                put("<h3>Accuracy of each class, with its 95 % interval</h3>")
                put(html.class_bars(rows))
            _confusion(run)
    if worst_mistakes := worst(run):
        with section(
            f"The {len(worst_mistakes)} worst mistakes, {SPOKEN.get(run.predicted or '', '')}"
        ):
            put('<p class="soft">True class → predicted class, the probability it was given.</p>')
            put(html.mistakes(worst_mistakes))
    if sure := confident(run):
        with section(f"The {len(sure)} most confident mistakes"):
            put(html.mistakes(sure))


def _confusion(run: RunData) -> None:
    options, counts = charts.confusion(run), tables.confusion_of(run)
    if options is None or counts is None:
        return
    with ui.element("div").classes("halves"):
        with ui.element("div"):
            put("<h3>Confusion matrix</h3>")
            chart(options, 440 if len(counts) <= charts.FEW else 600, "confusion matrix")
            put(
                '<p class="soft">Rows are true classes, columns predictions; per cent of the true '
                "class. Orange: errors, on a square-root scale; blue: right. "
                f"{tables.drawn_note(counts)}</p>"
            )
        with ui.element("div"):
            put("<h3>Most confused pairs</h3>")
            put(html.table(("true", "predicted", "images", "of the class"), tables.confused(run)))


def _origins(run: RunData) -> None:
    with ui.element("div").classes("halves"):
        with section("The recipe"):
            put('<p class="soft">Complete; what departs from the defaults is marked.</p>')
            put(html.recipe(settings.settings(run.recipe)))
        with section("Where it comes from"):
            put(html.origin(provenance.origin(run), provenance.logs(run)))
