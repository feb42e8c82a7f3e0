"""Runs beside each other: what differs between their recipes first, then what came of it."""

import asyncio
from collections.abc import Sequence

from cifarlab.dashboard import charts
from cifarlab.dashboard import html as markup
from cifarlab.dashboard.frame import Site, chart, framed, put, said, section
from cifarlab.dashboard.index import NotFoundError
from cifarlab.report import compare, settings
from cifarlab.report.run_data import Run, read_runs
from cifarlab.system.errors import CifarlabError, RunFolderError

_MOST = 24
_COLUMNS = (
    "run", "recipe", "seed", "data", "validation", "test", "95 % interval", "n", "training",
    "parameters", "state",
)  # fmt: skip


async def show(site: Site, places: Sequence[str]) -> None:
    """The runs at ``places``, in that order; those that can't be read are named and left out."""
    wanted = list(dict.fromkeys(places))
    with framed(site, "Compare"), said():
        if not wanted:
            raise RunFolderError(
                "there is nothing to compare", "choose two runs or more in the list of runs"
            )
        read, problems = await asyncio.to_thread(_read, site, wanted[:_MOST])
        if not read:
            raise NotFoundError(" ".join(problems).rstrip("."), "choose runs in the list of runs")
        put(f"<h1>{len(read)} runs compared</h1>")
        if len(wanted) > _MOST:
            problems.append(f"Only the first {_MOST} of {len(wanted)} runs are shown.")
        runs = [run for _, run in read]
        put(markup.warned([*problems, *compare.warnings(runs)]))
        _compared(read, runs)


def _compared(read: Sequence[tuple[str, Run]], runs: Sequence[Run]) -> None:
    links = [markup.run_link(place, run.name) for place, run in read]
    with section("What differs between the recipes"):
        put(markup.differences(settings.differences([run.recipe for run in runs]), links))
    with section("What came of it"):
        rows = [
            (link, row.recipe, row.seed, row.data, row.val, row.test, row.interval, row.n, row.time,
             row.parameters, row.state)
            for link, row in zip(links, (compare.row(run, "") for run in runs), strict=True)
        ]  # fmt: skip
        put(markup.table(_COLUMNS, rows))
        put(
            '<p class="soft">An interval is that of one run on its test images (Wilson); it says '
            "nothing of how much another seed would change. A study over seeds does.</p>"
        )
    with section("How they learned"):
        options = charts.overlay(runs)
        if options is None:
            put(markup.notes(["No run held validation images out, so there are no curves."]))
        else:
            chart(options, 420, "validation accuracy by epoch").mark("overlay")


def _read(site: Site, places: Sequence[str]) -> tuple[list[tuple[str, Run]], list[str]]:
    read, problems = [], []
    for place in places:
        try:
            path = site.index.path(place)
            read.append((place, read_runs([path], predictions=False)[0]))
        except CifarlabError as error:
            problems.append(f"{place}: {error.what}.")
    return read, problems
