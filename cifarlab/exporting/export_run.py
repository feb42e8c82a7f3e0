"""Export a run to one file, with the certificate that it is the network that was measured."""

import hashlib
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.dataset import Log, Progress
from cifarlab.evaluation.groups import proportion
from cifarlab.experiments.study.finished_runs import find_runs
from cifarlab.experiments.study.margin import require_margin
from cifarlab.exporting.formats import FORMATS, ExportFormat, export_errors
from cifarlab.exporting.int8 import CALIBRATION_IMAGES, quantize_int8
from cifarlab.exporting.measured_run import MeasuredRun, Split
from cifarlab.exporting.parity import (
    claim,
    describe,
    find_status,
    is_inferior,
    require_calibrated,
    require_equal,
    require_not_inferior,
    same_accuracy,
)
from cifarlab.metrics.conformal import calibrate_percents
from cifarlab.recipes.text import build, fingerprint
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import ExportError, UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.files import (
    damage_errors,
    disk_errors,
    exists,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from cifarlab.system.formatting import percent

_MOST_BYTES = 2**31  # of a file that is checked, as ONNX itself has it
MARGIN = 0.3  # points of accuracy that a quantized network may lose, where none is named
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
    margin: float | None = None,
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
    compared with the run's own network. Where it is another one, nothing is written. Where the run
    itself no longer has the figures of result.json, the certificate's ``status`` is not certified.

    Args:
        path: the folder of a run or of a study
        to: onnx, or torch for torch.export's .pt2
        quantize: int8, for ONNX alone; None: float32
        margin: points of accuracy that a quantized network may lose, by a one-sided paired test;
            None: 0.3
        test: compare on the test images instead; their opening is recorded
        row: the study's row, whose first seed it is; None: see ``find_runs``
        out: a folder; None: one under ``export/`` in the run folder
        command: stored in the certificate, and recorded where the test split is opened
        progress: called while data are read and networks compared
        log: called with a line that describes the data

    Raises:
        UserError: there is no such format or quantization, the margin is not above 0 or for nothing
        ExportError: the network can't be exported, its certificate is refused, or another export
            would be replaced
        CifarlabError: the run, its weights or its data can't be read
    """
    if to not in FORMATS or quantize not in (None, "int8") or (quantize and to != "onnx"):
        what = f"can't export to {to}" + (f", quantized to {quantize}" if quantize else "")
        raise UserError(what, "--to is onnx or torch; --quantize is int8, of --to onnx alone")
    _require_margin(margin, quantize)
    file_format = FORMATS[to]
    require_packages("an export", "export", *file_format.packages)
    (folder, *_), choice = find_runs(path, row)  # the first seed: the best one would be luck
    run = MeasuredRun(folder, progress, log)
    name = "-".join(filter(None, (to, quantize)))
    file = (out or folder.path / "export" / name) / f"model{file_format.suffix}"
    _require_replaceable(file, run.facts(quantize), test)
    content = _write_graph(run, file_format, quantize, test)
    split = run.open_images(test, command)
    choice = choice and choice | {"study": path.resolve().name}  # no path of this machine
    extra = {"choice": choice, "margin_points": (margin or MARGIN) if quantize else None}
    content = _add_facts(run, file_format, content, split, run.facts(quantize) | extra)
    figures = _compare(run, file_format, content, split)
    figures["refused"] = run.refusals() if quantize else []
    _judge(run, figures)
    about = {"run": str(folder.path), "choice": choice, "command": command}
    return _write(file, content, about | _certify(file, file_format, content, figures))


def check_export(
    file: Path,
    path: Path,
    *,
    margin: float | None = None,
    test: bool = False,
    row: str | None = None,
    command: str = "cifarlab.export",
    progress: Progress | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Check on this machine that an exported file is its run's network; return the new figures.

    Args:
        file: what ``export_run`` wrote, its certificate beside it
        path: as in ``export_run``, and so ``row``, ``command``, ``progress``, ``log``
        margin: of a quantized network, in points; None: that of its certificate
        test: compare on the test images
        row: the study's row
        command: recorded where the test split is opened
        progress: called while data are read and networks compared
        log: called with a line that describes the data

    Raises:
        UserError: the file is of no known format, or the margin is not above 0 or for nothing
        ExportError: the file was changed, is of another run, or is not the network measured
        CifarlabError: the run, its weights or its data can't be read
    """
    file_format = next((f for f in FORMATS.values() if f.suffix == file.suffix), None)
    if file_format is None:
        suffixes = " or ".join(f.suffix for f in FORMATS.values())
        raise UserError(f"{file} is no exported network", f"name a file that ends in {suffixes}")
    require_packages("an export", "export", *file_format.packages)
    run = MeasuredRun(find_runs(path, row).folders[0], progress, log)
    with damage_errors(f"can't read {file}", "check its name", ExportError):
        content = read_bytes(file, _MOST_BYTES)
    certificate = read_json(file.with_name("certificate.json"), _ANEW) or {}
    if dig(certificate, "file", "sha256") != _digest(content):
        what = f"{file} is not the file that the certificate beside it was written for"
        raise ExportError(what, "restore both, or export it anew")
    with export_errors(f"{file} can't be read", _ANEW):
        facts = file_format.read_facts(content)
    claims = certificate.get("facts"), certificate.get("margin_points")
    if claims != (facts, facts.get("margin_points")):
        what = f"the certificate beside {file} does not say what the file itself says"
        raise ExportError(what, "restore both, or export it anew")
    _require_margin(margin, facts.get("quantize"))
    _require_run(file, facts, run)
    figures = _compare(run, file_format, content, run.open_images(test, command))
    figures["margin_points"] = margin or figures["margin_points"]
    _judge(run, figures)
    _require_own_accuracy(file, facts, figures)
    return figures


def _require_margin(margin: float | None, quantize: str | None) -> None:
    """Raise UserError where the margin is not above 0, or nothing is quantized."""
    require_margin(margin)
    if margin is not None and not quantize:
        what = f"--margin {margin:g} does nothing without --quantize"
        raise UserError(what, "leave it out: a file in float32 must be the run's network")


def _require_run(file: Path, facts: dict[str, Any], run: MeasuredRun) -> None:
    """Raise ExportError where a file says that it is of another run."""
    expected = run.facts(facts.get("quantize"))
    by_version = ("cifarlab", "recipe")  # a later one may write the same recipe with further keys
    keys = [key for key in expected if key not in by_version]
    differences = [key for key in keys if facts.get(key) != expected[key]]
    recipe = build(facts.get("recipe"), str(file), run.folder.path)
    if fingerprint(recipe) != expected["fingerprint"]:
        differences.append("recipe")
    if differences:
        what = f"{file} is of another run than {run.folder.path}: {', '.join(differences)} differ"
        raise ExportError(what, "name the run that it was exported from")


def _require_replaceable(file: Path, facts: dict[str, Any], test: bool) -> None:
    """Raise ExportError where another export lies in the folder, or one that was certified on test.

    Args:
        file: to be written
        facts: of the run
        test: whether the new certificate will be of the test images, too
    """
    present = read_json(file.with_name("certificate.json"), "delete it") or {}
    keys = ("weights_sha256", "quantize")
    is_same = all(dig(present, "facts", key) == facts[key] for key in keys)
    is_same &= dig(present, "file", "name") == file.name
    if not present and exists(file):
        what = f"{file} is there, without a certificate"
    elif present and not is_same:
        what = f"{file.parent} holds the export of another run, or in another form"
    elif dig(present, "images", "split") == "test" and not test:
        what = f"{file.parent} holds an export that was compared on the test images"
    else:
        return
    raise ExportError(what, "name another folder with --out, or delete what is there")


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


def _add_facts(
    run: MeasuredRun,
    file_format: ExportFormat,
    content: bytes,
    split: Split,
    facts: dict[str, Any],
) -> bytes:
    """Return the bytes with what they are in them: what is known, and what they are measured to do.

    ``conformal``, by which a server makes sets, is of what the file itself says of the validation
    images: its arithmetic is not always the run's.
    """
    with export_errors("the exported network can't be run", _ANEW):
        network = file_format.load(content)
        outputs = run.run(network, split.subset)
    n_right = int((outputs.logits.argmax(1) == split.labels).sum())
    facts = facts | {
        "accuracy": run.describe_images(split) | proportion(n_right, len(split.subset)),
        "run_test": run.opened_test(),
        "conformal": None,
    }
    if validation := run.data.validation:
        on_validation = outputs if split.name == "val" else run.run(network, validation)
        labels = validation.labels[validation.indices]
        facts["conformal"] = calibrate_percents(on_validation.probabilities, labels)
    with export_errors("the exported network can't be written", _ANEW):
        content = file_format.add_facts(content, facts)
        if file_format.read_facts(content) != facts:
            raise ValueError("it does not say of itself what was written")
    return content


def _compare(
    run: MeasuredRun, file_format: ExportFormat, content: bytes, split: Split
) -> dict[str, Any]:
    """Return how the bytes of a file compare with its run; ``_judge`` says what that means."""
    with export_errors("the exported network can't be run", _ANEW):
        facts = file_format.read_facts(content)
        outputs = run.run(file_format.load(content), split.subset)
    figures = {
        "facts": facts,
        "images": run.describe_images(split),
        "margin_points": facts.get("margin_points"),
        "measured": run.result_scores(split),
        **run.compare(outputs, split.subset, facts.get("quantize") is not None),
    }
    return {"status": find_status(figures), **figures}


def _judge(run: MeasuredRun, figures: dict[str, Any]) -> None:
    """Raise ExportError where a file is refused by what ``_compare`` returned.

    That a margin refused a quantized one is kept in the run folder.
    """
    against_run, margin = figures["against_run"], figures["margin_points"]
    require_calibrated(against_run)
    if figures["against_float32"]:
        require_equal(figures["against_float32"])
        return
    if is_inferior(against_run, margin):
        run.record_refusal(against_run, margin, figures["images"]["split"])
    require_not_inferior(against_run, margin)


def _require_own_accuracy(file: Path, facts: dict[str, Any], figures: dict[str, Any]) -> None:
    """Raise ExportError where a file in float32 has another accuracy than it says, by flips."""
    claimed, actual = facts["accuracy"], figures["against_run"]["accuracy"]
    is_comparable = claimed["fingerprint"] == figures["images"]["fingerprint"]
    if not is_comparable or facts["quantize"]:
        return
    if not same_accuracy(actual, claimed["accuracy"], claimed["n"]):
        figure = f"{percent(claimed['accuracy'])}, and has {percent(actual)} here"
        raise ExportError(f"{file} says of itself {figure}", _ANEW)


def _certify(
    file: Path, file_format: ExportFormat, content: bytes, figures: dict[str, Any]
) -> dict[str, Any]:
    """Return the certificate of a file, but for where it comes from."""
    about = {"name": file.name, "format": file_format.name, "bytes": len(content)}
    packages = ("torch", *file_format.packages)
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "file": about | {"sha256": _digest(content)},
        **figures,
        # a module knows: onnxruntime is also installed as onnxruntime-gpu
        "versions": {name: str(import_module(name).__version__) for name in packages},
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(file: Path, content: bytes, certificate: dict[str, Any]) -> ExportedFile:
    """Write the network and the page, and last the certificate: where it is, all is whole.

    Raises:
        StorageError: the disk refused
    """
    from cifarlab.report.html import render

    exported = ExportedFile(file, certificate)
    values = {"file": file, "certificate": certificate, "lines": describe(certificate)}
    page = render("certificate.html", **values, claim=claim(certificate))
    with disk_errors(exported.page):
        for old in (file.with_name("certificate.json"), exported.page):
            old.unlink(missing_ok=True)
    write_bytes(file, content)
    write_text(exported.page, page)
    write_json(file.with_name("certificate.json"), certificate)
    return exported
