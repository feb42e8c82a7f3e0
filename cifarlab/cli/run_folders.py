"""Commands about the runs of a folder: list, show, diff, rm, gc."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from cifarlab.cli.app import app, echo, print_json, takes_plugins
from cifarlab.cli.next_command import print_next
from cifarlab.cli.options import Json

if TYPE_CHECKING:
    from cifarlab.run_folder.index import Entry, RunIndex

Where = Annotated[
    str, Argument(metavar="CONDITION", help='such as "optimizer.lr > 0.01 and test > 0.9"')
]
Folder = Annotated[Path, Option(help="the folder of the runs")]
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
    from cifarlab.report.run_list import list_runs, parse_columns, run_table
    from cifarlab.run_folder.selection import select_runs
    from cifarlab.system.terminal import print_table

    keys = parse_columns(columns)
    selection = select_runs(folder, where, sort, keys)
    if by_recipe:
        from cifarlab.report.recipe_list import list_recipes, recipe_table

        rows, table = list_recipes(selection, keys), recipe_table
    else:
        rows, table = list_runs(selection, keys), run_table
    problems = selection.listing.unrecognized_entries
    if as_json:
        name = "recipes" if by_recipe else "runs"
        print_json({"folder": str(folder), name: rows, "problems": problems})
    else:
        print_table(*table(rows, keys))
        n_runs = sum(not run.problem for run in selection.listing.runs)
        echo(f"{len(selection.runs):,} of {n_runs:,} runs in {folder}")
        for path, reason in problems:
            echo(f"not listed: {path or folder}: {reason}")
    first = selection.runs[0].url_path if selection.runs else None
    next_words = ("runs", "show", folder / first) if first else ("train", "quickstart")
    print_next(*next_words, err=as_json)


@runs_app.command("show")
@takes_plugins
def show_command(
    run: Annotated[Path, Argument(metavar="RUN", help="a run folder")],
    folder: Folder = Path("runs"),
    as_json: Json = False,
) -> None:
    """One run: state, settings that are not the default, results, sizes, what stands on it."""
    from cifarlab.experiments.run_summary import summarize_run, summary_table
    from cifarlab.system.terminal import print_table

    summary = summarize_run(run, folder)
    if as_json:
        print_json(summary)
    else:
        print_table(*summary_table(summary))
    print_next("report", run, err=as_json)


@runs_app.command("diff")
@takes_plugins
def diff_command(
    runs: Annotated[list[Path], Argument(metavar="RUN RUN...", help="run folders")],
    as_json: Json = False,
) -> None:
    """What differs between runs: settings first, then results; and what forbids to compare them."""
    from cifarlab.report.compare import comparability_warnings, run_differences
    from cifarlab.run_folder.run_data import read_runs
    from cifarlab.system.errors import UserError
    from cifarlab.system.terminal import print_table

    if len({run.resolve() for run in runs}) < 2:
        raise UserError("one run alone differs from nothing", "name two or more")
    runs_read = read_runs(runs, predictions=False)
    tables = dict(zip(("setting", "result"), run_differences(runs_read), strict=True))
    warnings = comparability_warnings(runs_read)
    names = [str(run) for run in runs]
    if as_json:
        print_json({"runs": names, **tables, "warnings": warnings})
    else:
        for title, rows in tables.items():
            if rows:
                print_table((title, *names), [(key, *values) for key, values in rows])
            else:
                echo(f"no {title} differs")
        for warning in warnings:
            echo(f"warning: {warning}")
    print_next("compare", *runs, err=as_json)


@runs_app.command("rm")
def remove_command(
    paths: Runs,
    folder: Folder = Path("runs"),
    dry_run: DryRun = False,
    force: Annotated[bool, Option("--force", help="also runs that verdicts stand on")] = False,
    as_json: Json = False,
) -> None:
    """Delete runs. Their openings of the test split stay counted; a record keeps its evidence."""
    from cifarlab.experiments.removal import find_entries
    from cifarlab.run_folder.index import RunIndex

    index = RunIndex(folder, writes=True)
    _delete(index, find_entries(index, paths), None, dry_run, force, as_json)


@runs_app.command("gc")
def collect_command(
    keep: Annotated[
        str,
        Option(
            metavar="PARTS",
            help="with commas: checkpoints, weights, predictions, figures, tensor-stats, audit, "
            "exports; results are always kept",
        ),
    ],
    where: Where = "",
    folder: Folder = Path("runs"),
    unfinished: Annotated[
        bool, Option("--unfinished", help="also of runs that then can't go on")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete all but some parts of the finished runs for which a condition holds.

    --dry-run says what each deletion costs: what can't be resumed, predicted or compared any more.
    """
    from cifarlab.run_folder.contents import parse_parts
    from cifarlab.run_folder.selection import select_runs

    parts = parse_parts(keep)
    selection = select_runs(folder, where)
    runs = [run for run in selection.runs if run.is_finished or unfinished]
    _delete(selection.runs_index, runs, parts, dry_run, False, as_json)


def _delete(
    index: "RunIndex",
    runs: "list[Entry]",
    keep: set[str] | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Say what deleting costs, and delete unless it is a dry run."""
    from cifarlab.experiments import removal
    from cifarlab.system.terminal import print_table

    plans = removal.plan_removal(index, runs, keep)
    if not (dry_run or force):
        removal.require_no_verdicts(plans)
    if not as_json:
        print_table(*removal.removal_table(plans))
    if not dry_run:
        removal.delete_runs(index, plans, force=force)
    if as_json:
        print_json({"dry_run": dry_run, "runs": removal.removal_json(plans)})
    else:
        echo("\n".join(removal.describe_removal(plans, is_dry=dry_run)))
    print_next("runs", "list", err=as_json)
