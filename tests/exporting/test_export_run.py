"""A run's file and its certificate; and what is refused: another network, an inferior one."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exported_runs import perturb_weights

from cifarlab.data.opening import open_data
from cifarlab.exporting import export_run as module
from cifarlab.exporting.export_run import ExportedFile, check_export, export_run
from cifarlab.exporting.formats import FORMATS, export_errors
from cifarlab.exporting.measured_run import MeasuredRun
from cifarlab.exporting.parity import require_equal
from cifarlab.inference.run_predictor import predict_images
from cifarlab.inference.tta import confidence
from cifarlab.metrics.conformal import calibrate_percents
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import ExportError, RunFolderError, UserError
from cifarlab.training.train import train


@pytest.fixture(scope="module")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> ExportedFile:
    """The finished run as ONNX. Read it, never write to it."""
    return export_run(finished.path, out=tmp_path_factory.mktemp("onnx"), command="me")


@pytest.fixture
def spoilable(exported: ExportedFile, tmp_path: Path) -> ExportedFile:
    """A copy of the exported file and its certificate, for a test to spoil."""
    folder = tmp_path / "exported"
    shutil.copytree(exported.path.parent, folder)
    return ExportedFile(folder / exported.path.name, exported.certificate)


@pytest.fixture
def perturbed_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Exports whose file has one other weight than the run."""
    write = module._write_graph
    monkeypatch.setattr(module, "_write_graph", lambda *a: perturb_weights(write(*a), 0.01))
    return


def test_the_file_runs_without_cifarlab_as_the_run_predicts(
    finished: RunFolder, exported: ExportedFile
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1), np.uint8) * 15
    probabilities, _ = session.run(None, {"images": images})
    expected = predict_images(finished, images).probabilities
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    [alone, _] = session.run(None, {"images": images[:1]})
    np.testing.assert_allclose(alone, expected[:1], atol=1e-5)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["cifarlab"])
    assert facts["classes"] == [str(digit) for digit in range(10)]
    assert facts["image_shape"] == [8, 8, 1] and facts["recipe"]["data"]["images"]["size"] is None
    assert facts["fingerprint"] == finished.result()["fingerprint"]
    assert facts["temperature"] == finished.temperature()
    val = finished.result()["val"]
    assert facts["accuracy"]["accuracy"] == val["accuracy"]
    assert facts["accuracy"]["interval"] == val["interval"]
    assert (facts["accuracy"]["split"], facts["accuracy"]["n"]) == ("val", val["n"])


def test_the_certificate_says_how_the_two_compare(
    finished: RunFolder, exported: ExportedFile
) -> None:
    certificate = json.loads(exported.path.with_name("certificate.json").read_text())
    assert certificate == json.loads(json.dumps(exported.certificate))
    for figures in (certificate["against_run"], certificate["against_float32"]):
        assert (figures["n_flips"], figures["gain"]) == (0, 0.0)
        assert 0 < figures["max_logit_difference"] < 1e-4
        assert figures["gain_interval"][0] < 0 < figures["gain_interval"][1]
    assert certificate["images"]["fingerprint"] == finished.result()["val"]["fingerprint"]
    assert certificate["command"] == "me" and certificate["margin"] is None
    page = exported.page.read_text()
    assert "is the network of" in page and certificate["file"]["sha256"] in page
    assert "src=" not in page and "val accuracy" in repr(exported)
    assert len(finished.provenance()["test_openings"]) == 1  # the run's own


def test_a_checked_file_is_measured_anew(finished: RunFolder, exported: ExportedFile) -> None:
    figures = check_export(exported.path, finished.path)
    for key in ("images", "margin", "against_run", "against_float32"):
        assert figures[key] == exported.certificate[key]


def test_torch_s_archive_is_certified_and_checked_too(finished: RunFolder, tmp_path: Path) -> None:
    exported = export_run(finished.path, "torch", out=tmp_path)
    assert exported.path.name == "model.pt2"
    assert exported.certificate["against_float32"]["max_logit_difference"] < 1e-5
    check_export(exported.path, finished.path)


@pytest.mark.usefixtures("perturbed_graphs")
def test_a_broken_export_is_refused_and_nothing_is_written(
    finished: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="is another one: a logit differs by") as raised:
        export_run(finished.path, out=tmp_path / "out")
    assert "refused" in raised.value.hint
    assert not (tmp_path / "out").exists()


def test_no_number_is_another_network() -> None:
    with pytest.raises(ExportError, match="differs by nan"):
        require_equal({"max_logit_difference": float("nan"), "largest_logit": 1.0, "n_flips": 0})


def test_a_changed_file_is_refused(finished: RunFolder, spoilable: ExportedFile) -> None:
    file = spoilable.path
    file.write_bytes(perturb_weights(file.read_bytes(), 0.01))
    with pytest.raises(ExportError, match="is not the file that the certificate"):
        check_export(file, finished.path)
    certificate = file.with_name("certificate.json")  # and where that is forged, too
    forged = spoilable.certificate | {"file": {"sha256": module._digest(file.read_bytes())}}
    certificate.write_text(json.dumps(forged))
    with pytest.raises(ExportError, match="is another one: a logit differs by"):
        check_export(file, finished.path)
    certificate.unlink()
    with pytest.raises(ExportError, match="is not the file that the certificate"):
        check_export(file, finished.path)


def test_a_file_of_another_run_is_refused(
    finished: RunFolder, exported: ExportedFile, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    other = RunFolder(tmp_path / "other")
    train(tiny({"seed": 1, "training.duration": "1 epoch"}), other, callbacks=())
    with pytest.raises(ExportError, match=r"is of another run than .* weights_sha256"):
        check_export(exported.path, other.path)


@pytest.mark.parametrize("name", ["notes.txt", "none.onnx", "empty.onnx"])
def test_what_is_no_exported_file_is_refused(
    finished: RunFolder, tmp_path: Path, name: str
) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "certificate.json").write_text(
        json.dumps({"file": {"sha256": module._digest(b"")}})
    )
    with pytest.raises(UserError, match=r"no exported network|can't read|can't be read"):
        check_export(tmp_path / name, finished.path)


def require_own_sets(exported: ExportedFile, folder: RunFolder) -> None:
    """Assert that a file's thresholds are of what it says itself of the validation images."""
    run = MeasuredRun(folder)
    assert run.data.validation
    outputs = run.run(FORMATS["onnx"].load(exported.path.read_bytes()), run.data.validation)
    labels = run.data.validation.labels[run.data.validation.indices]
    expected = calibrate_percents(outputs.probabilities, labels)
    assert exported.certificate["facts"]["conformal"] == expected
    assert "conformal" not in exported.certificate


def test_int8_is_certified_within_a_margin_and_refused_below(
    finished: RunFolder, tmp_path: Path
) -> None:
    exported = export_run(finished.path, quantize="int8", margin=20, out=tmp_path / "wide")
    figures = exported.certificate["against_run"]
    assert figures["max_logit_difference"] > 1e-3  # it is another network, and said to be
    assert exported.certificate["against_float32"] is None
    assert exported.certificate["facts"]["quantize"] == "int8"
    assert exported.certificate["facts"]["accuracy"]["accuracy"] == figures["accuracy"]
    assert -0.2 < figures["at_least"] < figures["gain"]
    assert "within 20 points" in exported.page.read_text()
    check_export(exported.path, finished.path)
    require_own_sets(exported, finished)
    with pytest.raises(ExportError, match=r"not shown to be within 0\.3 points") as raised:
        export_run(finished.path, quantize="int8", out=tmp_path / "narrow")
    assert f"--margin {-100 * figures['at_least']:.0f}"[:-1] in raised.value.hint
    assert not (tmp_path / "narrow").exists()


def test_a_broken_int8_is_refused(finished: RunFolder, monkeypatch, tmp_path: Path) -> None:
    write = module._write_graph
    monkeypatch.setattr(module, "_write_graph", lambda *a: perturb_weights(write(*a), 100, None))
    with pytest.raises(ExportError, match="not shown to be within 5 points"):
        export_run(finished.path, quantize="int8", margin=5, out=tmp_path)


def test_a_run_without_validation_is_compared_on_training_images(
    tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    train(tiny({"data.val_fraction": 0, "training.duration": "1 epoch"}), folder, callbacks=())
    exported = export_run(folder.path)
    training = open_data(folder.recipe().data).training
    assert exported.certificate["images"]["split"] == "train"
    assert exported.certificate["images"]["n"] == len(training)
    assert exported.path == folder.path / "export" / "onnx" / "model.onnx"
    assert "says nothing of other images" in exported.page.read_text()
    assert exported.certificate["facts"]["temperature"] is None
    assert exported.certificate["facts"]["conformal"] is None
    with pytest.raises(ExportError, match="training images flatter") as raised:
        export_run(folder.path, quantize="int8", margin=50)
    assert "--test" in raised.value.hint


def test_the_test_split_is_opened_on_request_and_recorded(copied: RunFolder) -> None:
    exported = export_run(copied.path, test=True, command="me")
    test = copied.result()["test"]
    assert exported.certificate["images"]["fingerprint"] == test["fingerprint"]
    assert exported.certificate["facts"]["accuracy"]["accuracy"] == test["accuracy"]
    openings = copied.provenance()["test_openings"]
    assert [(o["opener"], o["command"]) for o in openings[1:]] == [("export", "me")]
    require_own_sets(export_run(copied.path, quantize="int8", margin=20, test=True), copied)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "tflite"}, "can't export to tflite"),
        ({"quantize": "int4"}, "quantized to int4"),
        ({"to": "torch", "quantize": "int8"}, "can't export to torch, quantized"),
        ({"margin": 0}, "--margin 0 is not above 0"),
        ({"row": "base"}, "is no study"),
    ],
)
def test_wrong_requests_are_refused(finished: RunFolder, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export_run(finished.path, **options)


def test_an_unfinished_run_is_refused(copied: RunFolder) -> None:
    copied.result_file.unlink()
    with pytest.raises(ExportError, match="has not finished"):
        export_run(copied.path)
    with pytest.raises(RunFolderError, match="is no run folder"):
        export_run(copied.path / "none")


def test_images_at_the_threshold_s_edge_are_left_out_of_the_strict_comparison(
    finished: RunFolder,
) -> None:
    """Of these, rounding decides whether they get further views."""
    run = MeasuredRun(finished)
    run.views = 2
    subset = run.open_images(False, "").subset
    first = confidence(run.predictor.logits(subset.images, 1, subset.indices)).numpy()
    threshold = float(np.sort(first)[len(first) // 2])
    run.predictor = replace(run.predictor, tta_threshold=threshold + 1e-7)
    file_format = FORMATS["torch"]
    with export_errors("it fails", ""):
        network = file_format.load(file_format.write(run.graph().trace()))
    figures = run.compare(run.run(network, subset), subset, False)
    n_edge = int((np.abs(first - threshold) < 1e-5).sum())
    assert n_edge and figures["against_float32"]["n"] == len(subset) - n_edge
