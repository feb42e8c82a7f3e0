"""Export a run, or one of a study, from Python."""

from pathlib import Path
from typing import Any

from cifarlab.api.runs import AnyRun, TrainedRun
from cifarlab.config.plugins import plugin_errors, plugin_session
from cifarlab.exporting.export_run import ExportedFile, export_run
from cifarlab.exporting.export_run import check_export as check_exported


@plugin_errors()
def export(
    run: AnyRun,
    to: str = "onnx",
    quantize: str | None = None,
    margin: float | None = None,
    *,
    test: bool = False,
    row: str | None = None,
    out: Path | str | None = None,
    trust_plugins: bool = False,
) -> ExportedFile:
    """Export a run, or one of a study, to one file that is certified to be what was measured.

    Where the run no longer has the figures of result.json, the file is written, but the
    certificate's ``status`` is NOT AS MEASURED.

    Args:
        run: a run, its folder or a study's
        to: ``onnx``, or ``torch`` for torch.export's .pt2
        quantize: ``int8``, for ONNX alone
        margin: points of accuracy that a quantized network may lose; None: 0.3
        test: compare on the test images, whose opening is recorded
        row: the study's row; without it, the best on validation
        out: a folder; without it, one under ``export`` in the run folder
        trust_plugins: as in ``load_run``

    Raises:
        ExportError: the network can't be exported, is not the one that was measured, or another
            export would be replaced
        UserError: another argument is refused, or the run can't be read
    """
    path = run.path if isinstance(run, TrainedRun) else Path(run)
    with plugin_session((), trust_plugins):
        folder = Path(out) if out else None
        return export_run(path, to, quantize, margin, test=test, row=row, out=folder)


@plugin_errors()
def check_export(
    file: Path,
    run: AnyRun,
    *,
    margin: float | None = None,
    test: bool = False,
    row: str | None = None,
    trust_plugins: bool = False,
) -> dict[str, Any]:
    """Check on this machine that an exported file is its run's network; return the new figures.

    Args:
        file: what ``export`` wrote, its certificate beside it
        run: as in ``export``, and so ``row``
        margin: of a quantized network, in points; None: that of its certificate
        test: compare on the test images, whose opening is recorded
        row: the study's row
        trust_plugins: as in ``load_run``

    Raises:
        ExportError: the file was changed, is of another run, or is not the network measured
        UserError: the file is none of ours, another argument is refused, or the run can't be read
    """
    path = run.path if isinstance(run, TrainedRun) else Path(run)
    with plugin_session((), trust_plugins):
        return check_exported(Path(file), path, margin=margin, test=test, row=row)
