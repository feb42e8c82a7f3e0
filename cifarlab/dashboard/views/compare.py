"""Runs beside each other: what differs between their recipes first, then what came of it."""

import asyncio
from collections.abc import Sequence

from cifarlab.dashboard.frame import Site, chart, framed, put, section, show_errors
from cifarlab.dashboard.index import MissingFolderError
from cifarlab.dashboard.urls import run_link
from cifarlab.plots.run import overlay
from cifarlab.report import compare
from cifarlab.report.html import parts
from cifarlab.run_folder.run_data import RunData, read_runs
from cifarlab.system.errors import CifarlabError, RunFolderError

_MOST = 24


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
            raise MissingFolderError(
                " ".join(problems).rstrip("."), "choose runs in the list of runs"
            )
        put("<h1>{} runs compared</h1>", len(read))
        if len(requested) > _MOST:
            problems.append(f"Only the first {_MOST} of {len(requested)} runs are shown.")
        runs = [run for _, run in read]
        links = [run_link(url_path, run.name) for url_path, run in read]
        put(parts().warnings([*problems, *compare.warnings(runs)]))
        with section("What differs between the recipes"):
            put(parts().differences([run.recipe for run in runs], links))
        with section("What came of it"):
            put(parts().compared(runs, links))
        with section("How they learned"):
            if plot := overlay(runs):
                chart(plot, 420, "validation accuracy by epoch").mark("overlay")
                put('<p class="soft">{}</p>', parts().caption("overlay", runs[0]))
            else:
                put(parts().notes(["No run held validation images out, so there are no curves."]))


def _read(site: Site, url_paths: Sequence[str]) -> tuple[list[tuple[str, RunData]], list[str]]:
    read, problems = [], []
    for url_path in url_paths:
        try:
            path = site.index.path(url_path)
            read.append((url_path, read_runs([path], predictions=False)[0]))
        except CifarlabError as error:
            problems.append(f"{url_path}: {error.what}.")
    return read, problems
