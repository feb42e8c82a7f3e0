"""Several runs compared: the settings that differ, the results, the curves."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from cifarlab.dashboard.frame import add_chart, page_frame, put, section
from cifarlab.dashboard.index import Index, MissingFolderError
from cifarlab.dashboard.urls import run_link
from cifarlab.experiments.study.report import compare_named, render_verdicts
from cifarlab.plots import flips
from cifarlab.plots.run import overlay
from cifarlab.report import compare
from cifarlab.report.html import parts
from cifarlab.run_folder.run_data import RunData, read_runs
from cifarlab.system.errors import CifarlabError

_MAX_RUNS = 24


async def show(index: Index, runs: Annotated[Sequence[str], Query()] = ()) -> None:
    """Show the runs at these URL paths, in that order; name those that can't be read."""
    url_paths = list(dict.fromkeys(runs))
    with page_frame(index, "Compare"):
        runs_by_url, problems = await asyncio.to_thread(_read, index, url_paths[:_MAX_RUNS])
        if not runs_by_url:
            raise MissingFolderError(
                " ".join(problems).rstrip(".") or "there is nothing to compare",
                "choose two runs or more in the list of runs",
            )
        if len(url_paths) > _MAX_RUNS:
            problems.append(f"Only the first {_MAX_RUNS} of {len(url_paths)} runs are shown.")
        runs_read = list(runs_by_url.values())
        links = [run_link(url_path, run.name) for url_path, run in runs_by_url.items()]
        put("<h1>{} runs compared</h1>", len(runs_read))
        put(parts().warnings([*problems, *compare.comparability_warnings(runs_read)]))
        with section("What differs between the recipes"):
            put(parts().differences([run.recipe for run in runs_read], links))
        with section("What came of it"):
            put(parts().comparison(runs_read, links))
        names = [str(run.path) for run in runs_read]
        comparison, problems = await asyncio.to_thread(compare_named, names, index.root)
        if comparison or problems:
            with section("Which is better, and is that real?"):
                put(parts().notes(problems))
                put(render_verdicts(comparison) if comparison else "")
        for images in comparison.by_image if comparison else ():
            with section("Which images they answer differently"):
                put(parts().flips([images]))
                plot = flips.flips([images])
                n_classes = len(plot.panels[0].y.names) if plot else 0
                add_chart(plot, 120 + 22 * n_classes, flips.TITLES["flips"])
                put('<p class="muted">{}</p>', parts().comparison_caption("flips"))
        with section("How they learned"):
            if plot := overlay(runs_read):
                add_chart(plot, 420, "validation accuracy by epoch")
                put('<p class="muted">{}</p>', parts().comparison_caption("overlay"))
            else:
                put(parts().notes(["No run held validation images out, so there are no curves."]))


def _read(index: Index, url_paths: Sequence[str]) -> tuple[dict[str, RunData], list[str]]:
    runs_by_url, problems = {}, []
    for url_path in url_paths:
        try:
            runs_by_url[url_path] = read_runs([index.path(url_path)], predictions=False)[0]
        except CifarlabError as error:
            problems.append(f"{url_path}: {error.what}.")
    return runs_by_url, problems
