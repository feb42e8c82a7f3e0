"""The command that makes one run of several: combine."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from cifarlab.cli.app import app, command_line, echo, takes_plugins
from cifarlab.cli.next_command import print_next


@app.command()
@takes_plugins
def combine(
    paths: Annotated[
        list[Path], Argument(metavar="STUDY_OR_RUN...", help="a study, or two runs or more")
    ],
    method: Annotated[
        Literal["ensemble", "soup", "distilled"],
        Option("--as", help="a soup has mean weights; distilled: a student"),
    ] = "ensemble",
    row: Annotated[str | None, Option(help="the study's row; default: best on validation")] = None,
    run: Annotated[Path | None, Option(help="the new run; default: under runs/")] = None,
    test: Annotated[bool, Option("--test", help="measure on test, too; it is recorded")] = False,
) -> None:
    """Make one run of several, and say what it gains over them and what it costs."""
    from cifarlab.combining.combine import CombineSession, combine_runs
    from cifarlab.training.display import Display

    with Display() as display:
        session = CombineSession(command_line(), display.prepare, echo, [display])
        folder, lines = combine_runs(paths, method, row=row, run=run, test=test, session=session)
    for line in (*lines, f"run: {folder.path}"):
        echo(line)
    print_next("report", folder.path)
