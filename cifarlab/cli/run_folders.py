"""Commands about the runs of a folder: list, show, diff, rm, gc."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from cifarlab.cli.app import app, echo, print_json, takes_plugins
from cifarlab.cli.next_command import print_next
from cifarlab.cli.options import Json
from cifarlab.run_folder import RUNS

if TYPE_CHECKING:
    from cifarlab.experiments.removal import RemovalOptions
    from cifarlab.experiments.removal_table import RemovalTable
    from cifarlab.run_folder.index import Entry, RunIndex

WHERE = Argument(metavar="CONDITION", help='such as "optimizer.lr > 0.01 and test > 0.9"')
Where = Annotated[str, WHERE]
Folder = Annotated[Path, Option(help="the folder of the runs")]
Runs = Annotated[list[Path], Argument(metavar="RUN...", help="run folders, or folders of them")]
DryRun = Annotated[bool, Option("--dry-run", help="say what would be deleted, and delete nothing")]
Yes = Annotated[bool, Option("--yes", help="delete several runs without a question")]
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
    folder: Folder = RUNS,
    sort: Annotated[
        str | None,
        Option(metavar="KEY", help="-KEY: the largest first; of recipes: by its mean"),
    ] = None,
    columns: Annotated[str | None, Option(metavar="KEYS", help="further ones, with commas")] = None,
    by_recipe: Annotated[
        bool, Option("--by-recipe", help="n, mean and std over the seeds of each recipe")
    ] = False,
    as_json: Json = False,
) -> None:
    """The runs for which a condition holds, the last written first; recipes: the best first.

    A condition compares keys of the list (run, state, recipe, seed, data, epochs, test, val, age in
    days, openings), of recipes (optimizer.lr) and of results (test.loss, cost.train_seconds,
    device.name), with and, or, not, in.
    """
    from cifarlab.report.run_list import list_runs, parse_columns, run_table
    from cifarlab.run_folder.selection import select_runs
    from cifarlab.system.terminal import print_table

    keys = parse_columns(columns)
    selection = select_runs(folder, where, sort or "-last_modified", keys)
    if by_recipe:
        from cifarlab.report.recipe_list import list_recipes, recipe_table

        rows, table = list_recipes(selection, keys, sort), recipe_table
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
    as_json: Json = False,
) -> None:
    """One run: state, settings that are not the default, results, sizes, what stands on it."""
    from cifarlab.experiments.run_summary import summarize_run, summary_table
    from cifarlab.system.terminal import print_table

    summary = summarize_run(run)
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
    folder: Folder = RUNS,
    dry_run: DryRun = False,
    force: Annotated[bool, Option("--force", help="also runs that verdicts stand on")] = False,
    forget_openings: Annotated[
        bool, Option("--forget-openings", help="also runs whose provenance can't be read")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete runs. Their openings of the test split stay counted; a record keeps its evidence."""
    from cifarlab.experiments.removal import RemovalOptions, find_entries
    from cifarlab.run_folder.index import RunIndex

    index, options = RunIndex(folder), RemovalOptions(None, force, forget_openings)
    _remove(index, find_entries(index, paths), options, dry_run, yes, as_json)


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
    where: Annotated[str | None, WHERE] = None,
    folder: Folder = RUNS,
    unfinished: Annotated[
        bool, Option("--unfinished", help="also of runs that then can't go on")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete all but some parts of the finished runs for which a condition holds.

    --dry-run says what each deletion costs: what can't be resumed, predicted or compared any more.
    """
    from cifarlab.experiments.removal import RemovalOptions
    from cifarlab.run_folder.contents import parse_parts
    from cifarlab.run_folder.selection import select_runs
    from cifarlab.system.errors import UserError

    options = RemovalOptions(parse_parts(keep))
    if where is not None and not where.strip():
        raise UserError("the condition is empty", "leave it out where all runs are meant")
    selection = select_runs(folder, where or "")
    runs = [run for run in selection.runs if run.is_finished or unfinished]
    _remove(selection.runs_index, runs, options, dry_run, yes, as_json)


def _remove(
    index: "RunIndex",
    runs: "list[Entry]",
    options: "RemovalOptions",
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete, after a question where that is more than one run's, and say what was deleted."""
    from cifarlab.experiments.removal import remove_runs
    from cifarlab.system.terminal import print_table

    def confirm(preview: "RemovalTable") -> None:
        if len(preview.plans) > 1 and not yes:
            _ask(preview)

    removal = remove_runs(index, runs, options, dry_run=dry_run, confirm=confirm)
    if as_json:
        print_json(removal.to_json())
    else:
        print_table(*removal.cells())
        echo("\n".join(removal.describe()))
    removal.require_complete()
    print_next("runs", "list", err=as_json)


def _ask(preview: "RemovalTable") -> None:
    """Ask on the terminal whether to delete.

    Raises:
        UserError: the answer is no, or nobody is there to give one
    """
    from cifarlab.system.errors import UserError

    if not sys.stdin.isatty():
        what = f"{len(preview.plans):,} runs would be deleted, and there is no terminal to ask on"
        raise UserError(what, "--dry-run says what is lost; --yes deletes without a question")
    question = "\n".join([*preview.describe(), "delete? [y/N] "])
    sys.stderr.write(question)
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("nothing was deleted", "--dry-run lists run by run what would be")
