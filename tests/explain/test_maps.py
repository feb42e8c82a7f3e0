"""Class-activation maps: the formula written out, every kind of network, nothing left behind."""

import copy
import gc

import numpy as np
import pytest
import torch
from made_networks import GREY, MODELS, count_hooks, images, make_predictor

from cifarlab.explain.maps import (
    class_activation_maps,
    default_layer,
    feature_maps,
    map_shapes,
    upsample,
)
from cifarlab.system.errors import DataError, UserError

each_kind = pytest.mark.parametrize("kind", MODELS)


def slow_map(front, back, normalised, target):
    """Equations 1 and 2 of Selvaraju et al. 2017 for one image, sums written out."""
    a = front(normalised).detach().requires_grad_()
    back(a)[0, target].backward()
    _, channels, height, width = a.shape
    out = np.zeros((height, width))
    for k in range(channels):
        alpha = sum(float(a.grad[0, k, i, j]) for i in range(height) for j in range(width)) / (
            height * width
        )
        for i in range(height):
            for j in range(width):
                out[i, j] += alpha * float(a.detach()[0, k, i, j])
    return np.maximum(out, 0)


@pytest.mark.parametrize("target", [0, 2])
def test_the_formula_written_out(target):
    """The plain network cut behind the second block's last activation, before its pool."""
    predictor, batch = make_predictor("cnn"), images(2)
    body = copy.deepcopy(predictor.classifier.body).eval()
    last = body.blocks.block2
    pool = next(i for i, m in enumerate(last) if isinstance(m, torch.nn.MaxPool2d))
    front = lambda x: last[:pool](body.blocks.block1(x))  # noqa: E731
    back = lambda a: body.head(body.hidden(last[pool:](a)))  # noqa: E731
    maps = class_activation_maps(predictor, batch, targets=np.full(2, target))
    assert list(maps) == ["block2"]
    for n in range(2):
        normalised = predictor.classifier._normalize(torch.from_numpy(batch[n : n + 1]))
        expected = slow_map(front, back, normalised, target)
        assert expected.max() > 0
        np.testing.assert_allclose(maps["block2"][n], expected, rtol=1e-4, atol=1e-6)


def test_before_a_mean_and_a_linear_layer_the_weights_are_the_linear_layer_s():
    """Zhou et al. 2016: there Grad-CAM is CAM, up to the number of pixels (section 3.1)."""
    predictor, batch = make_predictor("resnet"), images(3)
    weight = predictor.classifier.body.head.weight.detach()
    maps = torch.from_numpy(feature_maps(predictor, batch, ["stage2"])["stage2"])
    targets = np.array([2, 0, 1])
    expected = (weight[targets][:, :, None, None] * maps).sum(1) / maps[0, 0].numel()
    maps = class_activation_maps(predictor, batch, ["stage2"], targets)["stage2"]
    np.testing.assert_allclose(maps, expected.clamp(min=0).numpy(), rtol=1e-4, atol=1e-6)
    signed = class_activation_maps(predictor, batch, ["stage2"], targets, relu_attributions=False)[
        "stage2"
    ]
    np.testing.assert_allclose(signed, expected.numpy(), rtol=1e-4, atol=1e-6)
    assert signed.min() < 0


@each_kind
@pytest.mark.parametrize("shape", [(12, 11, 3), GREY], ids=["colour", "grey"])
def test_inplace_activations_change_no_map(kind, shape):
    predictor, batch = make_predictor(kind, shape), images(3, shape)
    layers = list(map_shapes(predictor))
    maps = class_activation_maps(predictor, batch, layers, relu_attributions=False)
    reference = copy.deepcopy(predictor)
    inplace_modules = [m for m in reference.classifier.modules() if getattr(m, "inplace", False)]
    for module in inplace_modules:
        module.inplace = False
    assert bool(inplace_modules) == (MODELS[kind].activation != "gelu")
    expected = class_activation_maps(reference, batch, layers, relu_attributions=False)
    for name in layers:
        # an ELU in place takes its gradient from its result: the last bits differ
        np.testing.assert_allclose(maps[name], expected[name], rtol=1e-4, atol=1e-6)
        assert maps[name].shape == (3, *map_shapes(predictor)[name][1:])
        assert np.isfinite(maps[name]).all()
        assert np.abs(maps[name]).max() > 0
    positive = class_activation_maps(predictor, batch, layers)
    assert all(np.array_equal(positive[name], maps[name].clip(min=0)) for name in layers)


@each_kind
def test_feature_maps_are_what_the_layers_put_out(kind):
    predictor, batch = make_predictor(kind), images(2)
    shapes = map_shapes(predictor)
    maps = feature_maps(predictor, batch, list(shapes))
    for name, shape in shapes.items():
        assert maps[name].shape == (2, *shape)
    body, last = predictor.classifier.body, list(shapes)[-1]
    if kind == "airbench":
        expected = torch.from_numpy(maps[last]).amax((2, 3))
        logits = body.head(expected) * body.logit_scale
        torch.testing.assert_close(logits.detach(), predictor.logits(batch), rtol=1e-4, atol=1e-5)
    if kind in ("resnet", "pre-activation", "normalizer-free", "bottleneck", "whitened"):
        logits = body.head(torch.from_numpy(maps[last]).mean((2, 3)))
        torch.testing.assert_close(logits.detach(), predictor.logits(batch), rtol=1e-4, atol=1e-5)


@each_kind
def test_the_network_with_gradients_is_the_one_that_predicts(kind):
    predictor, batch = make_predictor(kind), images(4)
    predictor.classifier.train()
    with predictor.evaluating() as network:
        logits = network(torch.from_numpy(batch).float())
        assert logits.requires_grad
    assert predictor.classifier.training
    torch.testing.assert_close(logits.detach(), predictor.logits(batch), rtol=1e-5, atol=1e-6)


@each_kind
def test_nothing_is_left_behind(kind):
    predictor, batch = make_predictor(kind), images(3)
    before = {name: t.clone() for name, t in predictor.classifier.state_dict().items()}
    layers = list(map_shapes(predictor))
    class_activation_maps(predictor, batch, layers)
    feature_maps(predictor, batch, layers)
    assert count_hooks(predictor.classifier) == 0
    assert all(p.grad is None for p in predictor.classifier.parameters())
    after = predictor.classifier.state_dict()
    assert all(torch.equal(t, after[name]) for name, t in before.items())


def test_no_hook_survives_an_error(monkeypatch):
    predictor = make_predictor("resnet")
    with pytest.raises(DataError):
        class_activation_maps(predictor, images(2)[:, :5])
    real = predictor.classifier.body.head.forward
    calls = []

    def failing(x):
        calls.append(len(x))
        if torch.is_grad_enabled():
            raise RuntimeError("no memory left")
        return real(x)

    monkeypatch.setattr(predictor.classifier.body.head, "forward", failing)
    with pytest.raises(RuntimeError, match="no memory"):
        class_activation_maps(predictor, images(2))
    assert calls and count_hooks(predictor.classifier) == 0


def live_tensors():
    gc.collect()
    return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())


def test_no_tensor_stays_alive_over_a_thousand_images():
    predictor, batch = make_predictor("resnet"), images(1000)
    class_activation_maps(predictor, batch[:5])
    before = live_tensors()
    maps = class_activation_maps(predictor, batch)
    assert maps["stage2"].shape[0] == 1000
    assert live_tensors() == before
    assert count_hooks(predictor.classifier) == 0


def test_an_image_s_map_does_not_depend_on_the_others():
    predictor, batch = make_predictor("resnet"), images(60)
    together = class_activation_maps(predictor, batch)["stage2"]
    for n in (0, 24, 25, 59):
        alone = class_activation_maps(predictor, batch[n : n + 1])["stage2"]
        np.testing.assert_allclose(together[n : n + 1], alone, rtol=1e-4, atol=1e-6)


def test_bfloat16_sees_nearly_the_same():
    batch = images(6)
    exact, coarse = (
        class_activation_maps(
            make_predictor("resnet", precision=p),
            batch,
            ["stage1"],
            np.zeros(6, int),
            relu_attributions=False,
        )["stage1"]
        for p in ("float32", "bfloat16")
    )
    assert coarse.dtype == np.float32
    assert not np.array_equal(exact, coarse)
    assert np.corrcoef(exact.ravel(), coarse.ravel())[0, 1] > 0.99


def test_the_predicted_class_is_the_usual_target():
    predictor, batch = make_predictor("resnet"), images(5)
    predicted = predictor.logits(batch).argmax(1).numpy()
    default = class_activation_maps(predictor, batch)["stage2"]
    explicit = class_activation_maps(predictor, batch, targets=predicted)["stage2"]
    np.testing.assert_array_equal(default, explicit)
    other = class_activation_maps(predictor, batch, targets=(predicted + 1) % 3)["stage2"]
    assert not np.array_equal(default, other)


def test_no_images_give_no_maps():
    predictor = make_predictor("resnet")
    assert class_activation_maps(predictor, images(0))["stage2"].shape == (0, 6, 6)


def test_the_last_layer_with_a_map_is_chosen():
    assert default_layer({"a": (4, 8, 8), "b": (4, 2, 1), "c": (4, 1, 1)}) == "b"
    assert default_layer({"a": (4, 1, 1), "b": (4, 1, 1)}) == "a"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("resnet", ["stem", "stage1", "stage2"]),
        ("whitened", ["whitening", "stem", "stage1", "stage2"]),
        ("cnn", ["block1", "block2"]),
        ("airbench", ["whitening", "group1", "group2"]),
    ],
)
def test_layers_are_named(kind, names):
    assert list(map_shapes(make_predictor(kind))) == names


def test_a_pool_at_a_block_s_end_is_left_out():
    assert map_shapes(make_predictor("cnn"))["block1"] == (4, 12, 11)
    assert map_shapes(make_predictor("pool-first"))["block1"] == (4, 6, 5)


def test_an_unknown_layer_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="stem, stage1, stage2"):
        class_activation_maps(make_predictor("resnet"), images(1), ["stage9"])


def test_upsampled_is_bilinear_with_a_peak_of_one():
    maps = np.array([[[0.0, 2.0], [4.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]], np.float32)
    upsampled = upsample(maps, (4, 6))
    expected = np.zeros((4, 6))
    for row in range(4):
        for column in range(6):
            y = np.clip((row + 0.5) * 2 / 4 - 0.5, 0, 1)
            x = np.clip((column + 0.5) * 2 / 6 - 0.5, 0, 1)
            expected[row, column] = (1 - y) * x * 2 + y * (1 - x) * 4
    np.testing.assert_allclose(upsampled[0], expected / expected.max(), rtol=1e-5, atol=1e-6)
    assert upsampled[0].max() == 1 and not upsampled[1].any()
