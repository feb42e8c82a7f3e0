"""Export a run to one file, with the certificate that it is the network that was measured."""

import hashlib
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.dataset import Log, Progress
from cifarlab.experiments.study.finished_runs import find_runs
from cifarlab.experiments.study.margin import require_margin
from cifarlab.exporting.formats import FORMATS, ExportFormat, export_errors
from cifarlab.exporting.int8 import CALIBRATION_IMAGES, quantize_int8
from cifarlab.exporting.measured_run import MeasuredRun
from cifarlab.exporting.parity import describe, require_equal, require_not_inferior
from cifarlab.metrics.conformal import calibrate_percents
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import ExportError, UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.files import (
    damage_errors,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
    write_text,
)

_MOST_BYTES = 2**31  # of a file that is checked, as ONNX itself has it
_RUNTIMES = ("onnx", "onnxscript", "onnxruntime")
_ANEW = "export it anew; if that fails, too, report it as a bug"


class ExportedFile(NamedTuple):
    """An exported network with its certificate; the page for people lies beside both."""

    path: Path
    certificate: dict[str, Any]

    @property
    def page(self) -> Path:
        """Return the path of the certificate as a page."""
        return self.path.with_name("certificate.html")

    def __repr__(self) -> str:
        return f"<ExportedFile {self.path}: {describe(self.certificate)[0]}>"


def export_run(
    path: Path,
    to: str = "onnx",
    quantize: str | None = None,
    margin: float = 0.3,
    *,
    test: bool = False,
    row: str | None = None,
    out: Path | None = None,
    command: str = "cifarlab.export",
    progress: Progress | None = None,
    log: Log | None = None,
) -> ExportedFile:
    """Export a run, or one of a study, to a file that maps raw pixels to calibrated probabilities.

    The file is run on all validation images, or on training images where the run held none out, and
    compared with the run's own network. Where it is another one, nothing is written.

    Args:
        path: the folder of a run or of a study
        to: onnx, or torch for torch.export's .pt2
        quantize: int8, for ONNX alone; None: float32
        margin: points of accuracy that a quantized network may lose, by a one-sided paired test
        test: compare on the test images instead; their opening is recorded
        row: the study's row, whose first seed it is; None: see ``find_runs``
        out: a folder; None: one under ``export/`` in the run folder
        command: stored in the certificate, and recorded where the test split is opened
        progress: called while data are read and networks compared
        log: called with a line that describes the data

    Raises:
        UserError: there is no such format or quantization, or the margin is not above 0
        ExportError: the network can't be exported, or its certificate is refused
        CifarlabError: the run, its weights or its data can't be read
    """
    require_packages("an export", "export", *_RUNTIMES, "matplotlib", "jinja2")
    require_margin(margin)
    if to not in FORMATS or quantize not in (None, "int8") or (quantize and to != "onnx"):
        what = f"can't export to {to}" + (f", quantized to {quantize}" if quantize else "")
        raise UserError(what, "--to is onnx or torch; --quantize is int8, of --to onnx alone")
    (folder, *_), choice = find_runs(path, row)  # the first seed: the best one would be luck
    run = MeasuredRun(folder, progress, log)
    content = _write_graph(run, FORMATS[to], quantize, test)
    figures = _measure(run, FORMATS[to], content, quantize, margin, test, command)
    content, certificate = _certify(run, FORMATS[to], content, quantize, figures)
    about = {"run": str(folder.path), "choice": choice, "command": command}
    name = "-".join(filter(None, (to, quantize)))
    file = (out or folder.path / "export" / name) / f"model{FORMATS[to].suffix}"
    return _write(file, content, about | certificate)


def check_export(
    file: Path,
    path: Path,
    *,
    test: bool = False,
    row: str | None = None,
    command: str = "cifarlab.export",
    progress: Progress | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Check on this machine that an exported file is its run's network; return the new figures.

    Args:
        file: what ``export_run`` wrote, its certificate beside it
        path: as in ``export_run``, and so ``test``, ``row``, ``command``, ``progress``, ``log``
        test: compare on the test images
        row: the study's row
        command: recorded where the test split is opened
        progress: called while data are read and networks compared
        log: called with a line that describes the data

    Raises:
        UserError: the file is of no known format
        ExportError: the file was changed, is of another run, or is not the network measured
        CifarlabError: the run, its weights or its data can't be read
    """
    file_format = next((f for f in FORMATS.values() if f.suffix == file.suffix), None)
    if file_format is None:
        suffixes = " or ".join(f.suffix for f in FORMATS.values())
        raise UserError(f"{file} is no exported network", f"name a file that ends in {suffixes}")
    require_packages("an export", "export", *_RUNTIMES)
    run = MeasuredRun(find_runs(path, row).folders[0], progress, log)
    with damage_errors(f"can't read {file}", "check its name", ExportError):
        content = read_bytes(file, _MOST_BYTES)
    certificate = read_json(file.with_name("certificate.json"), _ANEW) or {}
    if dig(certificate, "file", "sha256") != _digest(content):
        what = f"{file} is not the file that the certificate beside it was written for"
        raise ExportError(what, "restore both, or export it anew")
    with export_errors(f"{file} can't be read", _ANEW):
        facts = file_format.read_facts(content)
    expected = run.facts(facts.get("quantize"))
    if differences := [key for key, value in expected.items() if facts.get(key) != value]:
        what = f"{file} is of another run than {run.folder.path}: {', '.join(differences)} differ"
        raise ExportError(what, "name the run that it was exported from")
    margin = dig(certificate, "margin") or 0.0
    return _measure(run, file_format, content, facts.get("quantize"), margin, test, command)


def _write_graph(
    run: MeasuredRun, file_format: ExportFormat, quantize: str | None, test: bool
) -> bytes:
    """Return the bytes of the run's graph. Raises ExportError."""
    if quantize and not test and run.data.validation is None:
        what = f"the run in {run.folder.path} held nothing out, and training images flatter"
        raise ExportError(what, "compare on the test images: --test; their opening is recorded")
    hint = "the network computes what the format does not have; try the other one of --to"
    with export_errors(f"the network of {run.folder.path} can't be exported", hint):
        content = file_format.write(run.graph().trace())
    if quantize:
        images = run.calibration_images(CALIBRATION_IMAGES)
        with export_errors("the network can't be quantized", "export it without --quantize"):
            content = quantize_int8(content, images)
    return content


def _measure(
    run: MeasuredRun,
    file_format: ExportFormat,
    content: bytes,
    quantize: str | None,
    margin: float,
    test: bool,
    command: str,
) -> dict[str, Any]:
    """Return how a file compares with its run. Raises ExportError where it is refused."""
    split = run.open_images(test, command)
    with export_errors("the exported network can't be run", _ANEW):
        network = file_format.load(content)
        outputs = run.run(network, split.subset)
    figures = run.compare(outputs, split.subset, quantize is not None)
    if quantize:
        require_not_inferior(figures["against_run"], margin)
    else:
        require_equal(figures["against_float32"])
    images = {"data": run.data.dataset.name, "split": split.name, "n": len(split.subset)}
    images |= {"fingerprint": split.subset.fingerprint()}
    if quantize and (validation := run.data.validation):
        quantized = outputs if split.name == "val" else run.run(network, validation)
        labels = validation.labels[validation.indices]
        figures["conformal"] = calibrate_percents(quantized.probabilities, labels)
    return {"images": images, "margin": margin if quantize else None, **figures}


def _certify(
    run: MeasuredRun,
    file_format: ExportFormat,
    content: bytes,
    quantize: str | None,
    figures: dict[str, Any],
) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes with what they are in them, and the certificate."""
    accuracy = {key: figures["against_run"][key] for key in ("accuracy", "interval")}
    facts = run.facts(quantize) | {"accuracy": figures["images"] | accuracy}
    facts.setdefault("conformal", figures.pop("conformal", None))
    with export_errors("the exported network can't be written", _ANEW):
        content = file_format.add_facts(content, facts)
    return content, {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "file": {"bytes": len(content), "sha256": _digest(content)},
        "facts": facts,
        **figures,
        "versions": {name: metadata.version(name) for name in ("torch", *_RUNTIMES)},
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(file: Path, content: bytes, certificate: dict[str, Any]) -> ExportedFile:
    """Write the network, its certificate and the page. Raises StorageError."""
    from cifarlab.report.html import render  # it needs the extra

    exported = ExportedFile(file, certificate)
    values = {"file": file, "certificate": certificate, "lines": describe(certificate)}
    page = render("certificate.html", **values)
    write_bytes(file, content)
    write_json(file.with_name("certificate.json"), certificate)
    write_text(exported.page, page)
    return exported
