"""Export a run, or one of a study, from Python."""

from pathlib import Path

from cifarlab.api.runs import AnyRun, TrainedRun
from cifarlab.config.plugins import plugin_errors, plugin_session
from cifarlab.exporting.export_run import ExportedFile, export_run


@plugin_errors()
def export(
    run: AnyRun,
    to: str = "onnx",
    quantize: str | None = None,
    margin: float = 0.3,
    *,
    test: bool = False,
    row: str | None = None,
    out: Path | None = None,
    trust_plugins: bool = False,
) -> ExportedFile:
    """Export a run, or one of a study, to one file that is certified to be what was measured.

    Args:
        run: a run, its folder or a study's
        to: ``onnx``, or ``torch`` for torch.export's .pt2
        quantize: ``int8``, for ONNX alone
        margin: points of accuracy that a quantized network may lose
        test: compare on the test images, whose opening is recorded
        row: the study's row; without it, the best on validation
        out: a folder; without it, one under ``export`` in the run folder
        trust_plugins: as in ``load_run``

    Raises:
        ExportError: the network can't be exported, or is not the one that was measured
        UserError: another argument is refused, or the run can't be read
    """
    path = run.path if isinstance(run, TrainedRun) else Path(run)
    with plugin_session((), trust_plugins):
        return export_run(path, to, quantize, margin, test=test, row=row, out=out)
