"""Commands about the runs of a folder: list, show, diff, rm, gc."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from cifarlab.cli.app import app, echo
from cifarlab.cli.next_command import print_next

Where = Annotated[
    str, Argument(metavar="[CONDITION]", help='such as "optimizer.lr > 0.01 and test > 0.9"')
]
Folder = Annotated[Path, Option(help="the folder of the runs")]
Json = Annotated[bool, Option("--json", help="one JSON object on standard output, no more")]
Runs = Annotated[list[Path], Argument(metavar="RUN...", help="run folders, or folders of them")]
DryRun = Annotated[bool, Option("--dry-run", help="say what would be deleted, and delete nothing")]
runs_app = typer.Typer(help="What is where: list, compare and clear away runs.")
app.add_typer(runs_app, name="runs")


@runs_app.callback(invoke_without_command=True)
def runs(context: typer.Context) -> None:
    """What is where: list, compare and clear away runs (alone: the list)."""
    if context.invoked_subcommand is None:
        list_command()


@runs_app.command("list")
def list_command(
    where: Where = "",
    folder: Folder = Path("runs"),
    sort: Annotated[str, Option(metavar="KEY", help="-KEY: the largest first")] = "-last_modified",
    columns: Annotated[str | None, Option(metavar="KEYS", help="further ones, with commas")] = None,
    by_recipe: Annotated[
        bool, Option("--by-recipe", help="n, mean and std over the seeds of each recipe")
    ] = False,
    as_json: Json = False,
) -> None:
    """The runs for which a condition holds, the last written first.

    A condition compares keys of the list (run, state, recipe, seed, data, epochs, test, val, age in
    days, openings), of recipes (optimizer.lr) and of results (test.loss, cost.train_seconds,
    device.name), with and, or, not, in.
    """
    from cifarlab.report.run_list import (
        list_recipes,
        list_runs,
        parse_columns,
        recipe_table,
        run_table,
    )
    from cifarlab.run_folder.selection import select_runs
    from cifarlab.system.terminal import print_table

    keys = parse_columns(columns)
    selection = select_runs(folder, where, sort, keys)
    rows = list_recipes(selection, keys) if by_recipe else list_runs(selection, keys)
    problems = selection.listing.unrecognized_entries
    if as_json:
        name = "recipes" if by_recipe else "runs"
        _print_json({"folder": str(folder), name: rows, "problems": problems})
    else:
        print_table(*(recipe_table if by_recipe else run_table)(rows, keys))
        n_runs = sum(not run.problem for run in selection.listing.runs)
        echo(f"{len(selection.runs):,} of {n_runs:,} runs in {folder}")
        for path, reason in problems:
            echo(f"not listed: {path or folder}: {reason}")
    first = selection.runs[0].url_path if selection.runs else None
    next_words = ("runs", "show", folder / first) if first else ("train", "quickstart")
    print_next(*next_words, err=as_json)


def _print_json(tree: Any) -> None:
    sys.stdout.write(json.dumps(tree, indent=2) + "\n")
