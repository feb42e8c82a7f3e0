"""Commands that search: searches, search."""

from typing import TYPE_CHECKING, Annotated

import typer

from cifarlab.cli.app import FiguresOption, PluginOption, app, command_line, formats, takes_plugins
from cifarlab.cli.following import say_next
from cifarlab.cli.studies import print_comparison, require_no_failed

if TYPE_CHECKING:
    from cifarlab.experiments.search.engine import FinishedSearch


@app.command()
def searches() -> None:
    """All shipped searches: what they look for, and how many trials that takes."""
    from cifarlab.experiments.search.definition import find_search, shipped_searches
    from cifarlab.system.terminal import print_table

    shipped = map(find_search, shipped_searches())
    rows = [(s.name, str(s.trials), str(s.max_epochs), s.about) for s in shipped]
    print_table(("search", "trials", "up to", "what it looks for"), rows)


@app.command()
@takes_plugins
def search(
    name: Annotated[str, typer.Argument(metavar="SEARCH", help="a shipped search or a YAML file")],
    trials: Annotated[int | None, typer.Option(help="how many")] = None,
    max_epochs: Annotated[
        str | None, typer.Option("--max-epochs", help="the longest that a trial runs: '30 epochs'")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="trials at a time")] = None,
    cluster: Annotated[str | None, typer.Option(help="a Ray cluster's address, or auto")] = None,
    max_time: Annotated[str | None, typer.Option(help="time after which it ends: '2 h'")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a stopped search")] = False,
    n_seeds: Annotated[
        int | None, typer.Option(min=1, help="train the finalists anew with so many seeds")
    ] = None,
    scale: Annotated[
        float, typer.Option(help="share of the training images and of the epochs, for a try")
    ] = 1.0,
    data: Annotated[str | None, typer.Option(help="data.source of all trials")] = None,
    sampler: Annotated[str | None, typer.Option(help="a kind: random, tpe")] = None,
    scheduler: Annotated[str | None, typer.Option(help="a kind: asha, none")] = None,
    figures: FiguresOption = "svg",
    plugin: PluginOption = None,
) -> None:
    """Search a recipe's settings, stop hopeless trials early, and explain what was found.

    Exits with 5 where it came to its end but trials failed.
    """
    from cifarlab.config.plugins import approve_plugins
    from cifarlab.experiments.search.definition import find_search, parse_wall_time, with_options
    from cifarlab.experiments.search.engine import run_search
    from cifarlab.system.terminal import console

    finished = run_search(
        with_options(
            find_search(name, approve_plugins(plugin or [])), trials, max_epochs, sampler, scheduler
        ),
        jobs=jobs,
        cluster=cluster,
        max_time=parse_wall_time(max_time),
        resume=resume,
        n_seeds=n_seeds,
        scale=scale,
        data=data,
        formats=formats(figures),
        command=command_line(),
        log=console.print,
    )
    _print_search(finished)
    best = finished.folder.best_recipe
    say_next(*(("train", best) if best.exists() else ("dashboard",)))
    require_no_failed(finished.n_failed, "its line of the table")


def _print_search(finished: "FinishedSearch") -> None:
    from cifarlab.experiments.search.table import (
        describe_selection_bias,
        heading,
        importance_rows,
        rows,
        rung_rows,
    )
    from cifarlab.system.terminal import console, print_table

    results = finished.results
    console.print("\n".join(heading(results)))
    for headers, cells in (
        rows(results),
        rung_rows(results.rungs, results.metric),
        importance_rows(results.importance),
    ):
        if cells:
            print_table(headers, cells)
    if finished.finalists:
        print_comparison(finished.finalists.comparison)
        for bias in finished.finalists.selection_bias:
            console.print(describe_selection_bias(bias, results.metric))
    for problem in finished.problems:
        console.print(problem)
    console.print(f"search: {finished.folder.path}")
