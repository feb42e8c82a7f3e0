"""Commands that compare: studies, study, compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarlab.cli.app import FiguresOption, PluginOption, app, command_line, formats, takes_plugins
from cifarlab.cli.following import after_compare, after_study, say_next
from cifarlab.system.errors import FailedRunsError

if TYPE_CHECKING:
    from cifarlab.experiments.study.comparison import Comparison


@app.command()
def studies() -> None:
    """All shipped studies: what they ask, and how many runs that takes."""
    from cifarlab.experiments.study.definition import find_study, shipped_studies
    from cifarlab.system.terminal import print_table

    shipped = map(find_study, shipped_studies())
    rows = [(s.name, f"{len(s.rows)} x {s.n_seeds}", s.about) for s in shipped]
    print_table(("study", "rows x seeds", "what it asks"), rows)


@app.command()
@takes_plugins
def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a shipped study or a YAML file")],
    n_seeds: Annotated[int | None, typer.Option(min=1, help="runs per row")] = None,
    scale: Annotated[
        float, typer.Option(help="share of the training images and of the epochs, for a trial")
    ] = 1.0,
    only: Annotated[
        str | None, typer.Option(help="train rows that match, and the baseline: '*dropout*'")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="runs at a time on this machine")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on with unfinished runs")] = False,
    data: Annotated[str | None, typer.Option(help="data.source of all rows")] = None,
    figures: FiguresOption = "svg",
    plugin: PluginOption = None,
) -> None:
    """Train recipes over seeds and say which is better, by how much, and whether that is real.

    Exits with 5 where it came to its end but runs failed.
    """
    from cifarlab.config.plugins import approve_plugins
    from cifarlab.experiments.study.definition import find_study
    from cifarlab.experiments.study.engine import run_study
    from cifarlab.system.terminal import console

    finished = run_study(
        find_study(name, approve_plugins(plugin or [])),
        n_seeds=n_seeds,
        scale=scale,
        only=only,
        jobs=jobs,
        resume=resume,
        data=data,
        formats=formats(figures),
        command=command_line(),
        log=console.print,
    )
    print_comparison(finished.comparison)
    for problem in finished.problems:
        console.print(problem)
    console.print(f"study: {finished.folder.path}")
    say_next(*after_study(name, n_seeds, scale, data))
    require_no_failed(finished.n_failed, "its note under the table")


@app.command()
@takes_plugins
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_RECIPE...",
            help="run folders, folders of them, or recipes whose finished runs are under runs/",
        ),
    ],
    against: Annotated[
        str | None, typer.Option(help="the baseline: a row, run or recipe; default: the first")
    ] = None,
    metric: Annotated[
        str, typer.Option(help="what they are compared by: accuracy, macro_f1, log_loss, ...")
    ] = "accuracy",
    out: Annotated[Path | None, typer.Option(help="a folder for table and figure")] = None,
    figures: FiguresOption = "svg",
) -> None:
    """Compare finished runs, grouped by recipe and paired by seed."""
    from cifarlab.experiments.study.definition import parse_metric
    from cifarlab.experiments.study.folder import write_comparison
    from cifarlab.experiments.study.outcomes import compare_runs
    from cifarlab.system.terminal import console

    comparison = compare_runs(names, against, metric=parse_metric(metric))
    print_comparison(comparison)
    if out:
        for problem in write_comparison(comparison, out, formats(figures)):
            console.print(problem)
        console.print(f"comparison: {out}")
    say_next(*after_compare(names, against, metric, out))


def require_no_failed(n_failed: int, location: str) -> None:
    """Raise FailedRunsError where runs failed; ``location`` says where the reasons stand."""
    if n_failed:
        raise FailedRunsError(
            f"{n_failed} run{' has' if n_failed == 1 else 's have'} failed; the others are "
            "compared",
            f"{location} says why",
        )


def print_comparison(comparison: "Comparison") -> None:
    """Print the table, with what stands over and under it."""
    from cifarlab.experiments.study.table import footing, format_rows, heading
    from cifarlab.system.terminal import console, print_table

    console.print("\n".join(heading(comparison)))
    print_table(*format_rows(comparison))
    console.print("\n".join(footing(comparison)))
