"""The exported graph says what the laboratory's own predictor says, for any number of images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cifarlab.exporting.formats import FORMATS, INPUT, OUTPUTS, Outputs, export_errors
from cifarlab.exporting.graph import ExportedNetwork
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.tta import confidence
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.system.device import Compute
from cifarlab.system.errors import ExportError

SMALL = {
    "model.depths": [1, 1, 1, 1],
    "model.channels": [4, 6, 8, 8],
    "model.stem_width": 4,
}
NETWORKS = {  # a recipe, the changes that make it small, and the channels of its images
    "cnn": ("asha2021/classic", {}, 3),
    "resnet": ("resnet18", SMALL, 3),
    "pre-activation": ("fudan/pre-activation", SMALL, 3),
    "normalizer-free": ("asha2021/normaliser-free", SMALL, 3),
    "airbench": ("speed/94", {"model.channels": [8, 8, 8]}, 3),
    "grey": ("resnet18", SMALL, 1),
}


def make_predictor(name: str, by_image: bool = False) -> Predictor:
    """A predictor of random weights whose logits differ from image to image."""
    recipe, changes, channels = NETWORKS[name]
    torch.manual_seed(0)
    body = build_body(change(find(recipe), changes).model, (32, 32, channels), 5)
    for parameter in body.parameters():  # gains of 0, which would hide a branch
        parameter.data += 0.1 * torch.randn_like(parameter)
    classifier = Classifier(body, [0.4] * channels, [0.2] * channels, by_image)
    compute = Compute(torch.device("cpu"), "float32")
    return Predictor(classifier, tuple("abcde"), (32, 32, channels), compute)


def draw_images(n: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, channels), np.uint8)


def require_same(ours: Outputs, predictor: Predictor, images: np.ndarray, views: int) -> None:
    logits = predictor.logits(images, views).numpy()
    scale = max(1.0, float(np.abs(logits).max()))
    np.testing.assert_allclose(ours.logits, logits, atol=3e-5 * scale)
    assert ours.logits.dtype == ours.probabilities.dtype == np.float32
    np.testing.assert_allclose(ours.probabilities, scaled_softmax(logits, 1.7), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_is_exported_for_any_number_of_images(name: str) -> None:
    predictor = make_predictor(name, by_image=name == "resnet")
    program = ExportedNetwork(predictor, 1, 1.7).trace()
    for file_format in FORMATS.values():
        with export_errors("it fails", ""):
            network = file_format.load(file_format.write(program))
        for n in (1, 2, 7):
            images = draw_images(n, predictor.image_shape[2])
            require_same(network(images), predictor, images, 1)


@pytest.mark.parametrize("views", [2, 6, 10])
@pytest.mark.parametrize("fraction", [None, 0.5])
def test_views_are_in_the_graph(views: int, fraction: float | None) -> None:
    predictor, images = make_predictor("airbench"), draw_images(9)
    if fraction:
        threshold = float(confidence(predictor.logits(images)).quantile(fraction))
        predictor = replace(predictor, tta_threshold=threshold + 1e-3)
    module = ExportedNetwork(predictor, views, 1.7)
    with torch.inference_mode():
        outputs = Outputs(*(values.numpy() for values in module(torch.from_numpy(images))))
    require_same(outputs, predictor, images, views)
    if fraction:
        for other in (1, views):  # some images get the views, and some do not
            logits = replace(predictor, tta_threshold=None).logits(images, other).numpy()
            assert 0 < (np.abs(logits - outputs.logits).max(1) < 1e-5).sum() < len(images)


def test_a_threshold_of_one_view_is_not_in_the_graph() -> None:
    predictor = replace(make_predictor("cnn"), tta_threshold=0.5)
    assert ExportedNetwork(predictor, 1, None).tta_threshold is None


def test_exporting_leaves_the_predictor_as_it_is() -> None:
    predictor = make_predictor("resnet")
    predictor.classifier.train()
    ExportedNetwork(predictor, 1, None)
    assert predictor.classifier.training


def test_onnx_names_what_goes_in_and_out() -> None:
    import onnx

    program = ExportedNetwork(make_predictor("cnn"), 1, 1.7).trace()
    with export_errors("it fails", ""):
        content = FORMATS["onnx"].write(program)
    graph = onnx.load_from_string(content).graph
    assert [value.name for value in graph.input] == [INPUT]
    assert [value.name for value in graph.output] == list(OUTPUTS)
    shape = graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value or d.dim_param for d in shape] == ["N", 32, 32, 3]


def test_what_an_exporter_raises_is_one_error_of_two_lines() -> None:
    with (
        pytest.raises(ExportError, match="can't be done: no such operator") as raised,
        export_errors("it can't be done", "do something else"),
    ):
        raise ValueError("no such operator")
    assert raised.value.hint == "do something else"
