"""The server says what ``cifarlab predict`` says, of every kind of image file."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from made_images import as_file, image_files
from PIL import Image
from starlette.testclient import TestClient

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.opening import open_data
from cifarlab.inference.inputs import decode_image, input_policy
from cifarlab.inference.run_predictor import predict_images
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.files import sha256
from cifarlab_serve.app import _MemoryParser, build_app
from cifarlab_serve.exported import ExportedNetwork, InputPolicy, ServeError
from cifarlab_serve.images import decode_bytes
from cifarlab_serve.settings import Limits

FILES = image_files()
MULTIPART = [("images", (name, blob)) for name, blob in FILES.items()]


def stamp(file: Path, target: Path, facts: dict[str, object]) -> Path:
    """A copy of an exported file that says something else of itself."""
    model = onnx.load(file)
    onnx.helper.set_model_props(model, {"cifarlab": json.dumps(facts)})
    onnx.save(model, target)
    return target


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("name", FILES)
def test_inputs_are_those_of_the_laboratory(name: str, mode: str, channels: int) -> None:
    recipes = ImagePolicy(size=32, resize_mode="crop")
    policy = input_policy(recipes, (16, 16, channels), mode)
    ours = InputPolicy(16, mode, "grey" if channels == 1 else "rgb")
    expected = decode_image(FILES[name], name, policy)
    np.testing.assert_array_equal(decode_bytes(FILES[name], ours), expected)


def test_probabilities_are_those_of_predict(
    client: TestClient, finished: RunFolder, tmp_path: Path
) -> None:
    for name, blob in FILES.items():
        (tmp_path / name).write_bytes(blob)
    expected = predict_images(finished, [tmp_path / name for name in FILES], "crop")
    answer = client.post("/predict", files=MULTIPART).json()
    assert [each["id"] for each in answer["predictions"]] == list(FILES)
    for each, row in zip(answer["predictions"], expected.probabilities, strict=True):
        assert tuple(each["probabilities"]) == expected.classes
        np.testing.assert_allclose(list(each["probabilities"].values()), row, atol=1e-5)
        assert each["class"] == expected.classes[row.argmax()]
        assert each["confidence"] == max(each["probabilities"].values())
    assert len({each["confidence"] for each in answer["predictions"]}) == len(FILES)


def test_a_body_that_is_an_image_is_one(client: TestClient) -> None:
    alone = client.post("/predict", content=FILES["rgb.png"]).json()["predictions"]
    many = client.post("/predict", files=MULTIPART).json()["predictions"]
    assert len(alone) == 1
    expected = next(each for each in many if each["id"] == "rgb.png")
    assert alone[0]["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)


def test_the_answer_names_the_network(
    client: TestClient, exported: Path, finished: RunFolder
) -> None:
    expected = {
        "name": finished.recipe().name,
        "fingerprint": fingerprint(finished.recipe()),
        "weights_sha256": sha256(finished.measured_weights()),
        "file_sha256": sha256(exported),
    }
    assert client.post("/predict", content=FILES["rgb.png"]).json()["model"] == expected
    model = client.get("/model").json()
    assert model["certified"] is True
    assert {key: model[key] for key in expected} == expected
    assert model["image_shape"] == [8, 8, 1] and model["accuracy"]["split"] == "val"


def test_an_image_of_another_size_is_refused_as_by_the_recipe(exported: Path) -> None:
    network = ExportedNetwork(exported)
    assert network.policy.resize_mode == "error"
    with TestClient(build_app(network, Limits()), base_url="http://127.0.0.1") as client:
        assert client.post("/predict", content=FILES["fits.png"]).status_code == 200
        answer = client.post("/predict", content=FILES["rgb.png"])
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "image is 14x9, not 8x8",
        "hint": "start the server with --resize-mode crop (or pad, stretch), or scale them "
        "yourself",
    }


@pytest.mark.parametrize("coverage", [None, 0.5, 0.9, 0.97])
def test_sets_are_those_of_predict(
    client: TestClient, finished: RunFolder, coverage: float | None
) -> None:
    training = open_data(finished.recipe().data).training
    images = training.images[training.indices[:200]]
    files = [("images", ("a.png", as_file(Image.fromarray(image[..., 0])))) for image in images]
    query = {"coverage": coverage} if coverage else {}
    answer = client.post("/predict", files=files, params=query).json()
    expected = predict_images(finished, images, coverage=coverage or 0.9)
    assert answer["coverage"] == (coverage or 0.9)
    assert [each["set"] for each in answer["predictions"]] == expected.sets()


def test_larger_coverages_have_larger_sets(client: TestClient) -> None:
    sizes = []
    for coverage in (0.05, 0.95):
        answer = client.post("/predict", files=MULTIPART, params={"coverage": coverage}).json()
        sizes.append(sum(len(each["set"]) for each in answer["predictions"]))
    assert sizes[0] < sizes[1]


def test_a_coverage_that_is_not_calibrated_is_refused(
    client: TestClient, exported: Path, tmp_path: Path
) -> None:
    highest = client.get("/model").json()["highest_coverage"]
    assert 0.9 < highest <= 0.99
    image = FILES["rgb.png"]
    for coverage in ("0.905", "0.001", "1", "-0.1", "nan", "inf", "x", "", "0.9999"):
        answer = client.post(f"/predict?coverage={coverage}", content=image)
        assert answer.status_code == 422 and set(answer.json()) == {"error", "hint"}
    facts = ExportedNetwork(exported).facts
    few = facts | {"conformal": facts["conformal"] | {"thresholds": [0.0, 0.0]}}
    for file, calibrated in ((few, True), (facts | {"conformal": None}, False)):
        network = ExportedNetwork(stamp(exported, tmp_path / "other.onnx", file), "crop")
        with TestClient(build_app(network, Limits()), base_url="http://127.0.0.1") as other:
            answer = other.post("/predict", content=image).json()
            assert answer.get("coverage") == (0.02 if calibrated else None)
            assert ("set" in answer["predictions"][0]) == calibrated
            answer = other.post("/predict?coverage=0.9", content=image)
            assert answer.json()["error"] == "no sets are calibrated for 0.9"


def test_what_is_no_exported_network_is_refused(exported: Path, tmp_path: Path) -> None:
    facts = ExportedNetwork(exported).facts
    (tmp_path / "text.onnx").write_text("no network")
    shutil.copy(exported, tmp_path / "model.onnx")
    assert ExportedNetwork(tmp_path).facts == facts  # the folder is enough
    for path in (
        *(tmp_path / "text.onnx", tmp_path / "nothing", tmp_path / "nothing.onnx"),
        stamp(exported, tmp_path / "bare.onnx", {}),
        stamp(exported, tmp_path / "shape.onnx", facts | {"image_shape": [9, 9, 1]}),
        stamp(exported, tmp_path / "classes.onnx", facts | {"classes": ["a", "b"]}),
    ):
        with pytest.raises(ServeError, match=r"is no exported network: .") as caught:
            ExportedNetwork(path)
        assert "cifarlab export" in caught.value.hint
    with pytest.raises(ServeError, match="no resize mode 'fit'"):
        ExportedNetwork(exported, "fit")


def test_a_file_beside_another_s_certificate_is_refused(exported: Path, tmp_path: Path) -> None:
    facts = ExportedNetwork(exported).facts
    assert ExportedNetwork(exported).certified
    other = stamp(exported, tmp_path / "model.onnx", facts | {"accuracy": {"value": 1.0}})
    assert not ExportedNetwork(other).certified
    certificate = Path(shutil.copy(exported.with_name("certificate.json"), tmp_path))
    with pytest.raises(ServeError, match=r"is not the file that certificate.json beside it"):
        ExportedNetwork(tmp_path)
    shutil.copy(exported, other)
    assert ExportedNetwork(tmp_path).certified
    for text in ("", "[]", "{}", '{"file": 1}'):
        certificate.write_text(text)
        with pytest.raises(ServeError, match=r"certificate.json can.*t be read"):
            ExportedNetwork(tmp_path)


def test_openapi_says_what_is_sent_and_answered(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/health", "/model", "/metrics", "/predict"}
    operation = paths["/predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    assert {"200", "401", "403", "413", "422", "503", "504"} <= set(operation["responses"])


def test_metrics_count_requests_and_batches(client: TestClient) -> None:
    client.post("/predict", files=MULTIPART)
    client.post("/predict", content=b"nothing")
    client.get("/made/up")
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'cifarlab_requests_total{path="/predict",status="200"} 1.0',
        'cifarlab_requests_total{path="/predict",status="422"} 1.0',
        'cifarlab_requests_total{path="other",status="404"} 1.0',
        "cifarlab_request_seconds_count 2.0",
        f"cifarlab_batch_images_sum {len(FILES)}.0",
        "cifarlab_waiting_images 0.0",
    ):
        assert line in lines
    assert client.get("/health").json() == {"status": "ok"}


def test_parts_of_a_form_stay_in_memory_under_the_name_that_any_starlette_has() -> None:
    """A renamed bound would let large parts go to the disk, or to a /tmp that is memory."""
    assert _MemoryParser.spool_max_size == _MemoryParser.max_file_size == sys.maxsize
