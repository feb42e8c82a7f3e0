"""Runs beside each other: what differs between their recipes first, then what came of it."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from cifarlab.dashboard.frame import chart, framed, put, section
from cifarlab.dashboard.index import Index, MissingFolderError
from cifarlab.dashboard.urls import run_link
from cifarlab.plots.run import overlay
from cifarlab.report import compare
from cifarlab.report.html import parts
from cifarlab.run_folder.run_data import RunData, read_runs
from cifarlab.system.errors import CifarlabError

_MOST = 24


async def show(index: Index, runs: Annotated[Sequence[str], Query()] = ()) -> None:
    """Show the runs at these URL paths, in that order; name those that can't be read."""
    requested = list(dict.fromkeys(runs))
    with framed(index, "Compare"):
        read, problems = await asyncio.to_thread(_read, index, requested[:_MOST])
        if not read:
            raise MissingFolderError(
                " ".join(problems).rstrip(".") or "there is nothing to compare",
                "choose two runs or more in the list of runs",
            )
        if len(requested) > _MOST:
            problems.append(f"Only the first {_MOST} of {len(requested)} runs are shown.")
        shown = list(read.values())
        links = [run_link(url_path, run.name) for url_path, run in read.items()]
        put("<h1>{} runs compared</h1>", len(shown))
        put(parts().warnings([*problems, *compare.warnings(shown)]))
        with section("What differs between the recipes"):
            put(parts().differences([run.recipe for run in shown], links))
        with section("What came of it"):
            put(parts().compared(shown, links))
        with section("How they learned"):
            if plot := overlay(shown):
                chart(plot, 420, "validation accuracy by epoch").mark("overlay")
                put('<p class="soft">{}</p>', parts().caption("overlay", shown[0]))
            else:
                put(parts().notes(["No run held validation images out, so there are no curves."]))


def _read(index: Index, url_paths: Sequence[str]) -> tuple[dict[str, RunData], list[str]]:
    read, problems = {}, []
    for url_path in url_paths:
        try:
            read[url_path] = read_runs([index.path(url_path)], predictions=False)[0]
        except CifarlabError as error:
            problems.append(f"{url_path}: {error.what}.")
    return read, problems
