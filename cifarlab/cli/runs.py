"""Commands that make and show runs: train, report."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from cifarlab.cli.app import SettingsCommand, app, command_line
from cifarlab.cli.following import after_report, say_next
from cifarlab.errors import MissingExtraError


@app.command(cls=SettingsCommand)
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a name or a YAML file")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings to change")
    ] = None,
    data: Annotated[str | None, typer.Option(help="short for data.source=...")] = None,
    run: Annotated[Path | None, typer.Option(help="the run folder; default: under runs/")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an unfinished run")] = False,
    extend: Annotated[
        str | None, typer.Option(help="train a finished run longer, e.g. '10 epochs'")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="with --extend: the rate meanwhile: hold, restart, stretch")
    ] = None,
    record: Annotated[
        bool, typer.Option(help="keep histograms of weights and activations of each epoch")
    ] = True,
) -> None:
    """Train a recipe, evaluate it and write its report."""
    from cifarlab.processes import joined
    from cifarlab.terminal import Display, console
    from cifarlab.train import Recorder
    from cifarlab.train import train as run_training
    from cifarlab.train.launch import launch

    with joined() as processes:
        job = processes.by_first(
            lambda: launch(
                recipe,
                settings or [],
                data=data,
                run=run,
                resume=resume,
                extend=extend,
                schedule=schedule,
            )
        )
        with Display() if processes.first else nullcontext() as display:
            recorders = [Recorder()] if record and processes.first else []
            result = run_training(
                job.recipe,
                job.folder,
                resume=job.resume,
                hooks=[display, *recorders] if display else [],
                command=command_line(),
                progress=display.prepare if display else None,
                processes=processes,
            )
    if not processes.first:
        return
    console.print(f"run: {job.folder.path}")
    try:
        _report([job.folder.path])
    except MissingExtraError as error:  # the run is complete without its report
        console.print(f"no report: {error.hint}")
    say_next("evaluate" if "val" in result else "explain", job.folder.path)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="run folders")],
    out: Annotated[Path | None, typer.Option(help="the page; figures go beside it")] = None,
) -> None:
    """One HTML file with everything about one or several runs."""
    _report(runs, out)
    say_next(*after_report(runs))


def _report(runs: list[Path], out: Path | None = None) -> None:
    from cifarlab.report import write_report
    from cifarlab.terminal import console

    console.print(f"report: {write_report(runs, out)}", soft_wrap=True)
