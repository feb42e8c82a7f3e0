"""Runs beside each other: what differs between their recipes first, then what came of it."""

import asyncio
from collections.abc import Sequence

from cifarlab.dashboard import charts, html
from cifarlab.dashboard.frame import Site, chart, framed, put, section, show_errors
from cifarlab.dashboard.index import NotFoundError
from cifarlab.report import compare, settings
from cifarlab.run_folder.run_data import RunData, read_runs
from cifarlab.system.errors import CifarlabError, RunFolderError

_MOST = 24
_COLUMNS = (
    "run", "recipe", "seed", "data", "validation", "test", "95 % interval", "n", "training",
    "parameters", "state",
)  # fmt: skip


async def show(site: Site, url_paths: Sequence[str]) -> None:
    """Show the runs at ``url_paths``, in that order; name those that can't be read."""
    requested = list(dict.fromkeys(url_paths))
    with framed(site, "Compare"), show_errors():
        if not requested:
            raise RunFolderError(
                "there is nothing to compare", "choose two runs or more in the list of runs"
            )
        read, problems = await asyncio.to_thread(_read, site, requested[:_MOST])
        if not read:
            raise NotFoundError(" ".join(problems).rstrip("."), "choose runs in the list of runs")
        put(f"<h1>{len(read)} runs compared</h1>")
        if len(requested) > _MOST:
            problems.append(f"Only the first {_MOST} of {len(requested)} runs are shown.")
        runs = [run for _, run in read]
        put(html.warned([*problems, *compare.warnings(runs)]))
        _compared(read, runs)


def _compared(read: Sequence[tuple[str, RunData]], runs: Sequence[RunData]) -> None:
    links = [html.run_link(url_path, run.name) for url_path, run in read]
    with section("What differs between the recipes"):
        put(html.differences(settings.differences([run.recipe for run in runs]), links))
    with section("What came of it"):
        rows = [
            (link, row.recipe, row.seed, row.data, row.val, row.test, row.interval, row.n, row.time,
             row.parameters, row.state)
            for link, row in zip(links, (compare.row(run, "") for run in runs), strict=True)
        ]  # fmt: skip
        put(html.table(_COLUMNS, rows))
        put(
            '<p class="soft">An interval is that of one run on its test images (Wilson); it says '
            "nothing of how much another seed would change. A study over seeds does.</p>"
        )
    with section("How they learned"):
        options = charts.overlay(runs)
        if options is None:
            put(html.notes(["No run held validation images out, so there are no curves."]))
        else:
            chart(options, 420, "validation accuracy by epoch").mark("overlay")


def _read(site: Site, url_paths: Sequence[str]) -> tuple[list[tuple[str, RunData]], list[str]]:
    read, problems = [], []
    for url_path in url_paths:
        try:
            path = site.index.path(url_path)
            read.append((url_path, read_runs([path], predictions=False)[0]))
        except CifarlabError as error:
            problems.append(f"{url_path}: {error.what}.")
    return read, problems
