"""Commands that search: searches, search."""

from typing import TYPE_CHECKING, Annotated

import typer

from cifarlab.cli.app import app, command_line
from cifarlab.cli.following import say_next
from cifarlab.cli.studies import print_comparison, require_no_failed

if TYPE_CHECKING:
    from cifarlab.experiments.search.engine import Searched


@app.command()
def searches() -> None:
    """All shipped searches: what they look for, and how many trials that takes."""
    from cifarlab.experiments.search.shipped import SEARCHES
    from cifarlab.system.terminal import print_table

    rows = [(s.name, str(s.trials), str(s.max), s.about) for s in SEARCHES.values()]
    print_table(("search", "trials", "up to", "what it looks for"), rows)


@app.command()
def search(
    name: Annotated[str, typer.Argument(metavar="SEARCH", help="a shipped search or a YAML file")],
    trials: Annotated[int | None, typer.Option(help="how many")] = None,
    longest: Annotated[
        str | None, typer.Option("--max", help="the longest that a trial runs: '30 epochs'")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="trials at a time")] = None,
    cluster: Annotated[str | None, typer.Option(help="a Ray cluster's address, or auto")] = None,
    budget: Annotated[str | None, typer.Option(help="time after which it ends: '2 h'")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a stopped search")] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="train the finalists anew with so many seeds")
    ] = None,
    scale: Annotated[
        float, typer.Option(help="share of the training images and of the epochs, for a try")
    ] = 1.0,
    data: Annotated[str | None, typer.Option(help="data.source of all trials")] = None,
    sampler: Annotated[str | None, typer.Option(help="random or tpe")] = None,
    scheduler: Annotated[str | None, typer.Option(help="asha or none")] = None,
) -> None:
    """Search a recipe's settings, stop hopeless trials early, and explain what was found.

    Exits with 5 where it came to its end but trials failed.
    """
    from cifarlab.experiments.search.definition import asked_for, wall_time
    from cifarlab.experiments.search.engine import run_search
    from cifarlab.experiments.search.shipped import find_search
    from cifarlab.system.terminal import console

    searched = run_search(
        asked_for(find_search(name), trials, longest, sampler, scheduler),
        jobs=jobs,
        cluster=cluster,
        budget=wall_time(budget),
        resume=resume,
        seeds=seeds,
        scale=scale,
        data=data,
        command=command_line(),
        tell=console.print,
    )
    _print_search(searched)
    best = searched.folder.best
    say_next(*(("train", best) if best.exists() else ("dashboard",)))
    require_no_failed(searched.failed, "its line of the table")


def _print_search(searched: "Searched") -> None:
    from cifarlab.experiments.search.table import (
        flattery_words,
        heading,
        importance_rows,
        rows,
        rung_rows,
    )
    from cifarlab.system.terminal import console, print_table

    of = searched.explained
    console.print("\n".join(heading(of)))
    for headers, cells in (rows(of), rung_rows(of.rungs), importance_rows(of.importance)):
        if cells:
            print_table(headers, cells)
    if searched.finals:
        print_comparison(searched.finals.comparison)
        console.print("\n".join(map(flattery_words, searched.finals.flattery)))
    for problem in searched.problems:
        console.print(problem)
    console.print(f"search: {searched.folder.path}")
