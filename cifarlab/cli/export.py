"""The command that hands a run over: export."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cifarlab.cli.app import app, command_line, echo, takes_plugins
from cifarlab.cli.evaluation import progress_display, use_free_threads
from cifarlab.cli.next_command import print_next


@app.command()
@takes_plugins
def export(
    run: Annotated[Path, Argument(metavar="RUN|STUDY", help="the folder of a run or a study")],
    to: Annotated[str, Option(help="onnx, or torch (torch.export's .pt2)")] = "onnx",
    quantize: Annotated[str | None, Option(help="int8: whole numbers instead of float32")] = None,
    margin: Annotated[float, Option(help="points that --quantize may lose, tested")] = 0.3,
    test: Annotated[bool, Option("--test", help="compare on the test split; recorded")] = False,
    row: Annotated[str | None, Option(help="of a study; default: best on validation")] = None,
    out: Annotated[Path | None, Option(help="a folder; default: RUN/export/...")] = None,
    check: Annotated[
        Path | None, Option(metavar="FILE", help="export nothing: is FILE this run's network?")
    ] = None,
) -> None:
    """One file from raw pixels to calibrated probabilities, certified to be what was measured.

    The file is compared with the run's network on all validation images; where it is another one,
    it is refused and nothing is written.
    """
    from cifarlab.exporting.export_run import check_export, export_run
    from cifarlab.exporting.parity import describe

    use_free_threads()
    with progress_display() as options:
        options |= {"test": test, "row": row, "command": command_line()}
        if check:
            certificate, file = check_export(check, run, **options), check
        else:
            exported = export_run(run, to, quantize, margin, out=out, **options)
            certificate, file = exported.certificate, exported.path
    echo("\n".join(describe(certificate)))
    if check:
        echo(f"checked: {file} is the network of {run}")
        print_next("predict", run)
    else:
        echo(f"exported: {file}\ncertificate: {exported.page}")
        print_next("export", run, "--check", file)
