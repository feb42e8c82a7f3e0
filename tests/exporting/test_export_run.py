"""A run's file and its certificate; and what is refused: another network, an inferior one."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from exported_runs import perturb_weights

import cifarlab as lab
from cifarlab.config.plugins import add_plugin
from cifarlab.data.opening import open_data
from cifarlab.exporting import export_run as module
from cifarlab.exporting.export_run import ExportedFile, check_export, export_run
from cifarlab.exporting.formats import FORMATS, export_errors
from cifarlab.exporting.graph import ExportedNetwork
from cifarlab.exporting.measured_run import MeasuredRun
from cifarlab.exporting.parity import require_equal
from cifarlab.inference.run_predictor import predict_images, read_validation
from cifarlab.inference.tta import confidence
from cifarlab.metrics.conformal import calibrate_percents
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import ExportError, RunFolderError, UserError
from cifarlab.system.files import sha256
from cifarlab.training.train import train
from cifarlab_serve.exported import ExportedNetwork as ServedNetwork


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
    assert facts["run_test"]["accuracy"] == finished.result()["test"]["accuracy"]
    assert facts["choice"] is None
    require_own_sets(exported, finished)


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
    assert certificate["command"] == "me" and certificate["margin_points"] is None
    assert certificate["file"]["format"] == "ONNX, opset 20" and "onnx" in certificate["versions"]
    assert certificate["measured"]["accuracy"] == finished.result()["val"]["accuracy"]
    assert "NOT AS MEASURED" not in exported.page.read_text()
    page = exported.page.read_text()
    assert "is the network of" in page and certificate["file"]["sha256"] in page
    assert "src=" not in page and "val accuracy" in repr(exported)
    assert len(finished.provenance()["test_openings"]) == 1  # the run's own


def test_a_folder_is_named_by_a_text_or_a_path(finished: RunFolder, tmp_path: Path) -> None:
    exported = lab.export(str(finished.path), "torch", out=f"{tmp_path}/dist/model")
    assert exported.path == tmp_path / "dist" / "model" / "model.pt2" and exported.path.is_file()
    by_run = lab.load_run(finished.path).export("torch", out=f"{tmp_path}/dist/model")
    assert by_run.path == exported.path


def require_no_paths(exported: ExportedFile) -> None:
    """Assert that a file has no folder of this machine in it."""
    content = exported.path.read_bytes()
    for folder in (Path(module.__file__).parents[2], Path(torch.__file__).parents[1], Path.home()):
        assert str(folder).encode() not in content


def test_a_file_has_no_paths_of_the_machine_in_it(exported: ExportedFile) -> None:
    require_no_paths(exported)


@pytest.mark.parametrize("to", FORMATS)
def test_a_teacher_s_folder_and_a_plug_in_s_are_not_in_a_file(
    finished: RunFolder, tiny: Callable[..., Recipe], tmp_path: Path, to: str
) -> None:
    source = Path(__file__).parents[1] / "models" / "foreign_parts.py"
    plugin = add_plugin(str(source.resolve()), named_by_user=True)
    teacher = {
        "teacher": str(finished.path),
        "weights_sha256": sha256(finished.measured_weights()),
    }
    settings = {"model": {"kind": "foreign"}, "training.distillation": teacher}
    settings["training.duration"] = "1 epoch"
    folder = RunFolder(tmp_path / "run")
    train(change(tiny().add_plugins([plugin]), settings), folder, callbacks=())
    exported = export_run(folder.path, to)
    require_no_paths(exported)
    content = exported.path.read_bytes()
    for path in (finished.path.parent, tmp_path, source.parent):
        assert str(path).encode() not in content
    recipe = exported.certificate["facts"]["recipe"]
    assert recipe["training"]["distillation"]["teacher"] == finished.path.name
    assert [entry["file"] for entry in recipe["plugins"]] == ["foreign_parts.py"]
    assert check_export(exported.path, folder.path)["status"] == "certified"


def test_another_distribution_of_a_package_has_a_version(
    exported: ExportedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime-gpu installs the module onnxruntime, and no distribution of that name."""
    import onnxruntime

    monkeypatch.setattr(metadata, "version", Mock(side_effect=metadata.PackageNotFoundError))
    certificate = module._certify(exported.path, FORMATS["onnx"], b"", {})
    assert certificate["versions"]["onnxruntime"] == onnxruntime.__version__


def test_torch_s_archive_needs_no_onnx_and_is_certified_and_checked_too(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    exported = export_run(finished.path, "torch", out=tmp_path)
    assert exported.path.name == "model.pt2"
    assert set(exported.certificate["versions"]) == {"torch"}
    require_no_paths(exported)
    assert exported.certificate["against_float32"]["max_logit_difference"] < 1e-5
    check_export(exported.path, finished.path)


@pytest.mark.parametrize(
    ("factor", "options"),
    [(1.1, {}), (5, {"to": "torch"}), (5, {"quantize": "int8", "margin": 50})],
)
def test_another_temperature_or_softmax_is_refused(
    finished: RunFolder, monkeypatch: pytest.MonkeyPatch, factor: float, options: dict
) -> None:
    """Its logits are the run's, and so are its predictions."""
    forward = ExportedNetwork.forward

    def spoiled(self: ExportedNetwork, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _, logits = forward(self, images)
        return (logits * factor / self.temperature).softmax(1), logits

    monkeypatch.setattr(ExportedNetwork, "forward", spoiled)
    with pytest.raises(ExportError, match="are not the softmax of its logits at the run's"):
        export_run(finished.path, **options)


def test_the_bytes_that_are_written_are_those_that_are_compared(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_facts = FORMATS["onnx"].add_facts
    spoil = lambda *a: perturb_weights(add_facts(*a), 0.01)  # noqa: E731
    monkeypatch.setattr(FORMATS["onnx"], "add_facts", spoil, raising=False)
    with pytest.raises(ExportError, match="is not the run's: a logit differs by"):
        export_run(finished.path, out=tmp_path / "out")
    monkeypatch.setattr(FORMATS["onnx"], "add_facts", lambda c, _f: add_facts(c, {}))
    with pytest.raises(ExportError, match="does not say of itself what was written"):
        export_run(finished.path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_can_t_be_traced_is_refused(
    finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = ExportedNetwork.forward
    by_value = lambda self, x: forward(self, x if x.sum() > 3 else 255 - x)  # noqa: E731
    monkeypatch.setattr(ExportedNetwork, "forward", by_value)
    with pytest.raises(ExportError, match=r"the network of .* can't be exported: "):
        export_run(finished.path)


@pytest.mark.usefixtures("perturbed_graphs")
def test_a_broken_export_is_refused_and_nothing_is_written(
    finished: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="is not the run's: a logit differs by") as raised:
        export_run(finished.path, out=tmp_path / "out")
    assert "refused" in raised.value.hint
    assert not (tmp_path / "out").exists()


def test_no_number_is_another_network() -> None:
    with pytest.raises(ExportError, match="differs by nan"):
        require_equal({"max_logit_difference": float("nan"), "largest_logit": 1.0, "n_flips": 0})


@pytest.mark.parametrize("keys", [("temperature", "value"), ("val", "accuracy")])
def test_a_run_that_is_not_as_it_was_measured_is_named(copied: RunFolder, keys: tuple) -> None:
    result = copied.result()
    result[keys[0]][keys[1]] *= 0.7
    copied.write_result(result)
    exported = export_run(copied.path)
    page = exported.page.read_text()
    assert "NOT AS MEASURED: result.json has" in page and "Not certified: model.onnx</h1>" in page
    first = page.partition("<p>")[2].partition("</p>")[0]
    assert first.startswith("This file is not certified (NOT AS MEASURED): it gives what")
    assert "is the network" not in page and "Certificate of" not in page
    assert exported.certificate["status"] == "NOT AS MEASURED" in repr(exported)
    assert check_export(exported.path, copied.path)["status"] == "NOT AS MEASURED"
    assert not ServedNetwork(exported.path).certified


def test_nothing_else_is_replaced(copied: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(copied.path, out=out)
    export_run(copied.path, test=True, out=out)
    openings = copied.provenance()["test_openings"]
    with pytest.raises(ExportError, match="compared on the test images"):
        export_run(copied.path, out=out)
    for options in ({"to": "torch"}, {"quantize": "int8", "margin": 90}):
        with pytest.raises(ExportError, match="of another run, or in another form"):
            export_run(copied.path, out=out, test=True, **options)
    (out / "certificate.json").unlink()
    with pytest.raises(ExportError, match=r"model\.onnx is there, without a certificate"):
        export_run(copied.path, out=out, test=True)
    assert copied.provenance()["test_openings"] == openings


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
    assert not (finished.path / "refused_exports.jsonl").exists()


def test_what_was_refused_stands_in_later_certificates(copied: RunFolder, tmp_path: Path) -> None:
    for margin in (None, 0.4):
        with pytest.raises(ExportError, match=r"not shown to be within 0\.[34] points") as raised:
            export_run(copied.path, quantize="int8", margin=margin, out=tmp_path / "narrow")
        assert "later certificates" in raised.value.hint
    assert not (tmp_path / "narrow").exists()
    exported = export_run(copied.path, quantize="int8", margin=20, out=tmp_path / "wide")
    refused = exported.certificate["refused"]
    assert [refusal["margin_points"] for refusal in refused] == [0.3, 0.4]
    assert refused[0]["at_least"] == exported.certificate["against_run"]["at_least"]
    assert "a margin of 0.3 points, on val no less than" in exported.page.read_text()
    with pytest.raises(ExportError, match=r"not shown to be within 0\.1 points"):
        check_export(exported.path, copied.path, margin=0.1)
    margins = [refusal["margin_points"] for refusal in MeasuredRun(copied).refusals()]
    assert margins == [0.3, 0.4, 0.1]


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


def test_a_run_in_bfloat16_has_a_file_in_float32_with_sets_of_its_own(
    tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    settings = {"training.precision": "bfloat16", "training.duration": "1 epoch"}
    train(tiny(settings), folder, callbacks=())
    exported = export_run(folder.path)
    run, float32 = (exported.certificate[key] for key in ("against_run", "against_float32"))
    assert run["precision"] == "bfloat16"
    assert run["max_logit_difference"] > 10 * float32["max_logit_difference"]
    require_own_sets(exported, folder)
    of_the_run = calibrate_percents(*read_validation(folder))
    assert exported.certificate["facts"]["conformal"] != of_the_run


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
        ({"margin": 5}, "--margin 5 does nothing without --quantize"),
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
