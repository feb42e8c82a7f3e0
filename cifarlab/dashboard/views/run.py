"""One run in full; its numbers and curves grow while it trains."""

import asyncio
from dataclasses import replace
from pathlib import Path

from nicegui import ui

from cifarlab.dashboard import charts
from cifarlab.dashboard import figures as beside
from cifarlab.dashboard import html as markup
from cifarlab.dashboard.frame import PACE, Site, chart, framed, put, said, section
from cifarlab.dashboard.index import stamps
from cifarlab.dashboard.urls import list_address, try_address
from cifarlab.dashboard.views.measured import audited, examination
from cifarlab.report import provenance, settings, tables
from cifarlab.report.compare import state
from cifarlab.report.diagnosis import diagnosed
from cifarlab.report.mistakes import confident, worst
from cifarlab.report.run_data import SPOKEN, Run, read_runs
from cifarlab.runs.folder import RunFolder

_RECIPE, _RESULT, _METRICS, _PROVENANCE = range(4)  # places in ``stamps``


async def show(site: Site, place: str) -> None:
    """The run at ``place``, or why it can't be shown."""
    with framed(site, place or site.index.root.name), said():
        await _Shown(site, place, site.index.path(place, "run")).begin()


class _Shown:
    """What is shown of a run, and what it was when it was read."""

    def __init__(self, site: Site, place: str, path: Path) -> None:
        self.site, self.place, self.path = site, place, path

    async def begin(self) -> None:
        self.container = ui.element("div")
        self.stamp = stamps(self.path)
        self.run = await asyncio.to_thread(_read, self.path)
        with self.container:
            self._fill()
        if not self.run.finished:
            ui.timer(PACE, self._look)

    async def _look(self) -> None:
        """Read what changed: mostly one more line of the metrics log."""
        now = await asyncio.to_thread(stamps, self.path)
        if now == self.stamp:
            return
        others = [now[n] == self.stamp[n] for n in (_RECIPE, _RESULT, _PROVENANCE)]
        self.stamp = now
        with self.container, said():
            if all(others):
                lines = await asyncio.to_thread(RunFolder(self.path).metrics.read)
                self.run = replace(self.run, lines=lines)
                self._grow()
            else:
                self.run = await asyncio.to_thread(_read, self.path)
                self.container.clear()
                self._fill()

    def _fill(self) -> None:
        run = self.run
        put(f"<h1>{markup.text(run.name)}</h1>")
        self.about = put("", "soft")
        self.numbers = put("", "numbers")
        with ui.element("div").classes("actions"):
            if any((self.path / "checkpoints").glob("*.safetensors")):
                put(f'<a class="action" href="{try_address(self.place)}">Try an image</a>')
            here = list_address(find=run.recipe_name)
            put(f'<a class="action" href="{here}">Runs of this recipe</a>')
        self.facts = put("")
        self.remarks = put("")
        with section("How it learned"):
            words = "accuracy, loss and learning rate by epoch"
            self.curves = chart(charts.curves(run), 600, words).mark("curves")
            put(
                '<p class="soft">Training values are means over the epoch, on the images as '
                "trained (augmented). Ring: best validation; diamond: test.</p>"
            )
        self._grow()
        _failures(run)
        examination(run)
        audited(run)
        if files := beside.figures(self.path):
            with section("Figures of the report and of 'cifarlab explain'"):
                put(beside.sheets(self.site.index, files))
        _origins(run)

    def _grow(self) -> None:
        """Everything that an epoch changes."""
        run = self.run
        words = (run.recipe_name, run.data_name, state(run))
        self.about.content = markup.text(" · ".join(words))
        self.numbers.content = markup.big(tables.accuracies(run), run.data_name)
        self.facts.content = markup.facts(tables.facts(run))
        found = diagnosed(run)
        told = f"<h2>What its curves say</h2>{markup.findings(found)}" if found else ""
        self.remarks.content = markup.notes(tables.notes(run)) + told
        self.curves.options.clear()
        self.curves.options.update(charts.curves(run))
        self.curves.update()


def _read(path: Path) -> Run:
    return read_runs([path])[0]


def _failures(run: Run) -> None:
    """Where it fails: classes, confusions, the worst mistakes."""
    if run.split_name:
        with section(f"Where it fails: {SPOKEN[run.split_name]} split of {run.data_name}"):
            if rows := tables.class_rows(run):
                put("<h3>Accuracy of each class, with its 95 % interval</h3>")
                put(markup.class_bars(rows))
            _confusion(run)
    if found := worst(run):
        with section(f"The {len(found)} worst mistakes, {SPOKEN.get(run.predicted or '', '')}"):
            put('<p class="soft">True class → predicted class, the probability it was given.</p>')
            put(markup.mistakes(found))
    if sure := confident(run):
        with section(f"The {len(sure)} most confident mistakes"):
            put(markup.mistakes(sure))


def _confusion(run: Run) -> None:
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
            put(markup.table(("true", "predicted", "images", "of the class"), tables.confused(run)))


def _origins(run: Run) -> None:
    with ui.element("div").classes("halves"):
        with section("The recipe"):
            put('<p class="soft">Complete; what departs from the defaults is marked.</p>')
            put(markup.recipe(settings.settings(run.recipe)))
        with section("Where it comes from"):
            put(markup.origin(provenance.origin(run), provenance.logs(run)))
