"""The exported graph says what the laboratory's own predictor says, for any number of images."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cifarlab.config.family import allow_plugins
from cifarlab.config.plugins import Plugin, restore_plugin
from cifarlab.exporting.formats import FORMATS, INPUT, OUTPUTS, Network, Outputs, export_errors
from cifarlab.exporting.graph import ExportedNetwork
from cifarlab.exporting.int8 import quantize_int8
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.tta import confidence
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.configs import ModelConfig
from cifarlab.models.norm_configs import NormConfig
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.system.device import Compute
from cifarlab.system.errors import ExportError

_FILE = Path(__file__).parents[1] / "models" / "foreign_parts.py"
PLUGIN = Plugin(file=str(_FILE), sha256=hashlib.sha256(_FILE.read_bytes()).hexdigest())
restore_plugin(PLUGIN, _FILE.read_bytes())
SMALL = {
    "model.depths": [1, 1, 1, 1],
    "model.channels": [4, 6, 8, 8],
    "model.stem_width": 4,
}
TINY = SMALL | {"model.depths": [1, 1], "model.channels": [4, 8], "model.strides": [1, 2]}
NETWORKS = {  # a recipe, the changes that make it small, and the channels of its images
    "cnn": ("asha2021/classic", {}, 3),
    "resnet": ("resnet18", SMALL, 3),
    "pre-activation": ("fudan/pre-activation", SMALL, 3),
    "normalizer-free": ("asha2021/normaliser-free", SMALL, 3),
    "airbench": ("speed/94", {"model.channels": [8, 8, 8]}, 3),
    "grey": ("resnet18", SMALL, 1),
    "bottleneck": ("resnet18", TINY | {"model.block": "bottleneck"}, 3),
    "group": ("resnet18", TINY | {"model.norm": {"kind": "group", "num_groups": 2}}, 3),
    "instance": ("resnet18", TINY | {"model.norm": {"kind": "instance"}}, 1),
    "layer": ("resnet18", TINY | {"model.norm": {"kind": "layer"}}, 3),
    "foreign": ("resnet18", {"plugins": [PLUGIN.model_dump()], "model": {"kind": "foreign"}}, 3),
}


def make_predictor(name: str, by_image: bool = False) -> Predictor:
    """A predictor of random weights whose logits differ from image to image."""
    recipe, changes, channels = NETWORKS[name]
    torch.manual_seed(0)
    with allow_plugins([PLUGIN.sha256]):
        body = build_body(change(find(recipe), changes).model, (32, 32, channels), 5)
    for parameter in body.parameters():  # gains of 0, which would hide a branch
        parameter.data += 0.1 * torch.randn_like(parameter)
    classifier = Classifier(body, [0.4] * channels, [0.2] * channels, by_image)
    compute = Compute(torch.device("cpu"), "float32")
    return Predictor(classifier, tuple("abcde"), (32, 32, channels), compute)


def draw_images(n: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, channels), np.uint8)


def load_file(network: ExportedNetwork, file_format: str) -> Network:
    """Write a network in one of the formats, and load that."""
    with export_errors("it fails", ""):
        return FORMATS[file_format].load(FORMATS[file_format].write(network.trace()))


def require_same(ours: Outputs, predictor: Predictor, images: np.ndarray, views: int) -> None:
    logits = predictor.logits(images, views).numpy()
    assert ours.logits.shape == logits.shape
    scale = float(np.abs(logits).max(initial=1.0))
    np.testing.assert_allclose(ours.logits, logits, atol=3e-5 * scale)
    assert ours.logits.dtype == ours.probabilities.dtype == np.float32
    np.testing.assert_allclose(ours.probabilities, scaled_softmax(logits, 1.7), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_is_exported_for_any_number_of_images(name: str) -> None:
    predictor = make_predictor(name, by_image=name == "resnet")
    for file_format in FORMATS:
        network = load_file(ExportedNetwork(predictor, 1, 1.7), file_format)
        # onnxruntime refuses the reshaping of no image that group normalization begins with
        for n in (0, 1, 2, 7) if name in ("cnn", "resnet", "airbench") else (1, 2, 7):
            images = draw_images(n, predictor.image_shape[2])
            require_same(network(images), predictor, images, 1)


def test_every_shipped_kind_of_network_and_of_normalization_is_here() -> None:
    configs = [change(find(recipe), changes).model for recipe, changes, _ in NETWORKS.values()]
    assert {config.kind for config in configs} >= set(ModelConfig.kinds())
    assert {getattr(config, "norm", config).kind for config in configs} >= set(NormConfig.kinds())


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(("views", "fraction"), [(2, None), (6, 0.5), (10, 0.5)])
def test_views_are_in_the_file(views: int, fraction: float | None, file_format: str) -> None:
    predictor, images = make_predictor("airbench"), draw_images(9)
    if fraction:
        threshold = float(confidence(predictor.logits(images)).quantile(fraction))
        predictor = replace(predictor, tta_threshold=threshold + 1e-3)
    network = load_file(ExportedNetwork(predictor, views, 1.7), file_format)
    outputs = network(images)
    require_same(outputs, predictor, images, views)
    require_same(network(images[:1]), predictor, images[:1], views)
    if fraction:
        for other in (1, views):  # some images get the views, and some do not
            logits = replace(predictor, tta_threshold=None).logits(images, other).numpy()
            assert 0 < (np.abs(logits - outputs.logits).max(1) < 1e-5).sum() < len(images)


def test_int8_has_the_views_and_the_threshold() -> None:
    predictor, images = make_predictor("airbench"), draw_images(9)
    threshold = float(confidence(predictor.logits(images)).quantile(0.5))
    predictor = replace(predictor, tta_threshold=threshold + 1e-3)
    with export_errors("it fails", ""):
        content = FORMATS["onnx"].write(ExportedNetwork(predictor, 6, 1.7).trace())
        network = FORMATS["onnx"].load(quantize_int8(content, images))
    outputs, logits = network(images), predictor.logits(images, 6).numpy()
    other = replace(predictor, tta_threshold=None).logits(images, 6).numpy()
    sure = (other != logits).any(1)  # these get one view, and must not get all of them
    assert 0 < sure.sum() < len(images)
    errors, views = np.abs(outputs.logits - logits)[sure], np.abs(other - logits)[sure]
    assert 0 < errors.mean() < 0.5 * views.mean()
    np.testing.assert_allclose(
        outputs.probabilities, scaled_softmax(outputs.logits, 1.7), atol=1e-5
    )


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
        content = FORMATS["onnx"].add_facts(FORMATS["onnx"].write(program), {})
    model = onnx.load_from_string(content)
    [opset] = [o.version for o in model.opset_import if not o.domain]
    assert (opset, model.ir_version) == (20, 10)  # as docs/export.md says
    graph = model.graph
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
