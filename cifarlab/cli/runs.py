"""Commands that make and show runs: train, report."""

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cifarlab.cli.app import SettingsCommand, app, command_line, echo, parse_formats, takes_plugins
from cifarlab.cli.next_command import after_report, print_next
from cifarlab.cli.options import Data, Figures, Plugins, Resume, Settings
from cifarlab.system.errors import Interrupted, StorageError

if TYPE_CHECKING:
    from cifarlab.system.processes import Processes
    from cifarlab.training.request import TrainRequest


@app.command(cls=SettingsCommand)
@takes_plugins
def train(
    recipe: Annotated[str, Argument(metavar="RECIPE", help="a name or a YAML file")],
    settings: Settings = None,
    data: Data = None,
    run: Annotated[Path | None, Option(help="the run folder; default: under runs/")] = None,
    resume: Resume = False,
    extend: Annotated[str | None, Option(help="train a finished run on: '10 epochs'")] = None,
    schedule: Annotated[str | None, Option(help="with --extend: hold, restart, stretch")] = None,
    start: Annotated[
        str, Option(help="the epoch that --resume or --extend goes on from: last, best")
    ] = "last",
    threads: Annotated[int | None, Option(min=1, help="default: as many as cores are free")] = None,
    tensor_stats: Annotated[bool, Option(help="histograms of each epoch, by a callback")] = True,
    callback: Annotated[list[str] | None, Option(metavar="KIND", help="also watches")] = None,
    plugin: Plugins = None,
) -> None:
    """Train a recipe, evaluate it and write its report."""
    from cifarlab.system.processes import init_distributed
    from cifarlab.training.request import resolve_request

    with init_distributed() as processes:
        request = processes.broadcast_from_rank0(
            lambda: resolve_request(
                recipe,
                settings or [],
                data=data,
                run=run,
                resume=resume,
                extend=extend,
                schedule=schedule,
                start=start,
                plugins=plugin or [],
                callbacks=[*(["tensor-stats"] if tensor_stats else []), *(callback or [])],
            )
        )
        if not request.report_only:
            _train(request, processes, threads)
    if processes.is_main_process:
        from cifarlab.combining.record import complete_record

        complete_record(request.folder, command_line())
        echo(f"run: {request.folder.path}")
        _report_new_run(request.folder.path)
        held_out = "val" in (request.folder.result() or {})
        print_next("evaluate" if held_out else "explain", request.folder.path)


def _train(request: "TrainRequest", processes: "Processes", threads: int | None) -> None:
    """Train the run that the command line names, and show the progress."""
    from cifarlab.training.display import Display
    from cifarlab.training.train import train as run_training

    with Display() as display:
        run_training(
            request.recipe,
            request.folder,
            resume=request.resume,
            callbacks=[display, *request.callbacks.build_callbacks()],
            command=command_line(),
            progress=display.prepare,
            processes=processes,
            threads=threads,
        )


def _report_new_run(run: Path) -> None:
    """Write the report of a run that has just been trained; an error here leaves the run whole."""
    hint = f"the run is complete; its report: {shlex.join(['cifarlab', 'report', str(run)])}"
    try:
        _report([run])
    except StorageError as error:
        raise StorageError(error.what, hint) from error
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted while the report was drawn", hint, signal.SIGINT) from error


@app.command()
@takes_plugins
def report(
    runs: Annotated[list[Path], Argument(metavar="RUN...", help="run folders, or a study's")],
    out: Annotated[Path | None, Option(help="the page; figures go beside it")] = None,
    figures: Figures = "svg",
) -> None:
    """One HTML file with everything about one or several runs, or a study's verdicts."""
    _report(runs, out, figures)
    print_next(*after_report(runs))


def _report(runs: list[Path], out: Path | None = None, figures: str = "svg") -> None:
    from cifarlab.experiments.study.folder import StudyFolder
    from cifarlab.experiments.study.report import compare_for_report, write_study_report
    from cifarlab.report.write import write_report

    options = parse_formats(figures), lambda: echo("drawing the report ...")
    if len(runs) == 1 and StudyFolder(runs[0]).file.is_file():
        path = write_study_report(runs[0], out, *options)
    else:
        path = write_report(runs, out, *options, compare_for_report)
    echo(f"report: {path}")
