"""The commands that hand a run over: export, serve."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from cifarlab.cli.app import app, command_line, echo, takes_plugins
from cifarlab.cli.evaluation import progress_display, use_free_threads
from cifarlab.cli.next_command import print_next
from cifarlab.system.errors import ExportError, UserError
from cifarlab.system.extras import require_packages
from cifarlab_serve.settings import HOST, OPTIONS, PORT, TOKEN_VARIABLE, Limits

_SERVER_PACKAGES = ("onnxruntime", "fastapi", "uvicorn", "python_multipart", "prometheus_client")


@app.command()
@takes_plugins
def export(
    run: Annotated[Path, Argument(metavar="RUN|STUDY", help="the folder of a run or a study")],
    to: Annotated[str | None, Option(help="onnx (default), or torch: its .pt2")] = None,
    quantize: Annotated[str | None, Option(help="int8: whole numbers instead of float32")] = None,
    margin: Annotated[
        float | None, Option(help="points that --quantize may lose, tested; default: 0.3")
    ] = None,
    test: Annotated[bool, Option("--test", help="compare on the test split; recorded")] = False,
    row: Annotated[str | None, Option(help="of a study; default: best on validation")] = None,
    out: Annotated[Path | None, Option(help="a folder; default: RUN/export/...")] = None,
    check: Annotated[
        Path | None, Option(metavar="FILE", help="export nothing: is FILE this run's network?")
    ] = None,
) -> None:
    """One file from raw pixels to calibrated probabilities, certified to be what was measured.

    The file is compared with the run's network on all validation images; where it is another one,
    it is refused and nothing is written. Where the run no longer has the figures of its
    result.json, the file is written but not certified, and the command fails.
    """
    from cifarlab.exporting.export_run import check_export, export_run
    from cifarlab.exporting.parity import CERTIFIED, claim, describe

    values = {"--to": to, "--quantize": quantize, "--out": out}
    idle = [name for name, value in values.items() if value]
    if check and idle:
        what = f"{' and '.join(idle)} would do nothing with --check, which exports nothing"
        raise UserError(what, "leave out one or the other")
    use_free_threads()
    with progress_display() as options:
        options |= {"margin": margin, "test": test, "row": row, "command": command_line()}
        if check:
            certificate, file = check_export(check, run, **options), check
        else:
            exported = export_run(run, to or "onnx", quantize, out=out, **options)
            certificate, file = exported.certificate, exported.path
    echo("\n".join(describe(certificate)))
    if check:
        echo(f"checked: {file} {claim(certificate)} {run}")
    else:
        echo(f"exported: {file}\ncertificate: {exported.page}")
    if certificate["status"] != CERTIFIED:
        what = f"{file} is not certified: {run} no longer has the figures of its result.json"
        hint = "export it where it was measured, by its provenance.json; or train it again"
        raise ExportError(what, hint)
    print_next(*(("predict", run) if check else ("export", run, "--check", file)))


@app.command()
def serve(
    exported: Annotated[Path, Argument(help=OPTIONS["exported"])],
    host: Annotated[str, Option(help=OPTIONS["host"])] = HOST,
    port: Annotated[int, Option(help=OPTIONS["port"])] = PORT,
    token: Annotated[str | None, Option(envvar=TOKEN_VARIABLE, help=OPTIONS["token"])] = None,
    resize_mode: Annotated[str | None, Option(help=OPTIONS["resize_mode"])] = None,
    threads: Annotated[int | None, Option(help=OPTIONS["threads"])] = None,
    batch: Annotated[int, Option(help=OPTIONS["batch"])] = Limits.batch,
    queue: Annotated[int, Option(help=OPTIONS["queue"])] = Limits.queue,
    pixels: Annotated[int, Option(help=OPTIONS["pixels"])] = Limits.pixels,
    timeout: Annotated[float, Option(help=OPTIONS["timeout"])] = Limits.timeout,
    check: Annotated[bool, Option("--check", help=OPTIONS["check"])] = False,
) -> None:
    """Answer HTTP requests with an exported network; SIGTERM or Ctrl-C ends it.

    The server needs no torch: cifarlab-serve is the same one alone.
    """
    require_packages("the server", "serve", *_SERVER_PACKAGES)
    from cifarlab_serve.exported import ServeError
    from cifarlab_serve.server import serve as serve_exported

    options: dict[str, Any] = {"resize_mode": resize_mode, "threads": threads, "check": check}
    options["limits"] = Limits(batch=batch, queue=queue, pixels=pixels, timeout=timeout)
    try:
        serve_exported(exported, host=host, port=port, token=token, log=echo, **options)
    except ServeError as error:
        raise UserError(error.what, error.hint) from error
