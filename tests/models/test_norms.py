"""Normalisations by their formulas, what they refuse, and momentum over several passes per step."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.layers import batch_norms, set_passes
from cifarlab.models.norm_configs import (
    BatchNormConfig,
    GroupNormConfig,
    InstanceNormConfig,
    LayerNormConfig,
    NoNormConfig,
)
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError

STAGES = {"depths": [1, 1], "channels": [4, 6], "strides": [1, 2], "stem_width": 4}
TREES = [{**STAGES}, {"kind": "airbench", "channels": [4, 6], "depths": 3}]


CNN = {
    "kind": "cnn",
    "channels": [4, 6],
    "block": ["conv", "norm", "act", "conv", "act", "norm", "pool"],
    "hidden_features": [8],
    "linear_order": ["linear", "norm", "act"],
}
SETS = {  # which values are normalised together: from (N, C, H, W) to (sets, values)
    "layer": (LayerNormConfig(eps=0.1), lambda x: x.reshape(len(x), -1)),
    "group": (GroupNormConfig(eps=0.1, num_groups=3), lambda x: x.reshape(len(x) * 3, -1)),
    "instance": (InstanceNormConfig(eps=0.1), lambda x: x.reshape(len(x) * x.shape[1], -1)),
    "batch": (BatchNormConfig(eps=0.1), lambda x: x.transpose(0, 1).reshape(x.shape[1], -1)),
}


def norms(tree):
    body = build_body(build({"model": tree}).model, (8, 8, 3), 10)
    return body, [m for m in body.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scale", [True, False])
def test_each_kind_is_its_formula(name, scale):
    part, sets = SETS[name]
    layer = part.model_copy(update={"scale": scale}).build(6, (4, 5)).double()
    assert [p.requires_grad for p in (layer.weight, layer.bias)] == [scale, True]
    torch.manual_seed(0)
    x = torch.randn(3, 6, 4, 5, dtype=torch.float64) * 3 + 1
    nn.init.normal_(layer.bias)
    if scale:
        nn.init.normal_(layer.weight)
    values = sets(x)
    centred = values - values.mean(1, keepdim=True)
    expected = centred / ((centred**2).mean(1, keepdim=True) + 0.1).sqrt()
    weight, bias = (p[:, None, None] for p in (layer.weight, layer.bias))
    if name == "batch":
        expected = expected.reshape(6, 3, 4, 5).transpose(0, 1)
    torch.testing.assert_close(layer(x), expected.reshape(x.shape) * weight + bias)


@pytest.mark.parametrize("name", SETS)
def test_gradients_and_layout_are_those_of_torch_s_own(name):
    part, _ = SETS[name]
    layer = part.build(6, (4, 5)).double()
    torch.manual_seed(0)
    x = torch.randn(3, 6, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    back = torch.randn_like(x)
    ours, theirs = x.clone().requires_grad_(), x.contiguous().requires_grad_()
    out = layer(ours)
    assert out.is_contiguous(memory_format=torch.channels_last)
    grads = torch.autograd.grad(out, [ours, layer.weight, layer.bias], back)
    if name == "batch":
        torch_s = functional.batch_norm(theirs, None, None, layer.weight, layer.bias, True, 0, 0.1)
    else:
        torch_s = functional.group_norm(theirs, layer.num_groups, layer.weight, layer.bias, 0.1)
    expected = torch.autograd.grad(torch_s, [theirs, layer.weight, layer.bias], back)
    torch.testing.assert_close(grads, expected)


def test_none_is_nothing():
    assert type(NoNormConfig().build(3, (8, 8))) is nn.Identity


@pytest.mark.parametrize("kind", ["batch", "layer", "group", "instance", "none"])
@pytest.mark.parametrize("tree", [*TREES, CNN], ids=lambda tree: tree.get("kind", "resnet"))
def test_all_norms_of_a_network_are_of_the_recipe_s_kind(tree, kind):
    part = {"kind": kind, "num_groups": 2} if kind == "group" else {"kind": kind}
    features, count = ({8}, 5) if tree is CNN else (set(), 6)
    if kind == "instance" and tree is CNN:
        tree, features, count = CNN | {"linear_order": ["linear", "act"]}, set(), 4
    body = build_body(build({"model": {**tree, "norm": part}}).model, (16, 16, 3), 10)
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
    layers = [m for m in body.modules() if isinstance(m, kinds)]
    groups = {(m.num_groups, m.num_channels) for m in layers if isinstance(m, nn.GroupNorm)}
    maps = {4, 6}
    expected = {
        "batch": set(),
        "layer": {(1, width) for width in maps | features},
        "group": {(2, width) for width in maps | features},
        "instance": {(width, width) for width in maps},
        "none": set(),
    }
    assert groups == expected[kind]
    assert len(layers) == (0 if kind == "none" else count)
    convs = [m for m in body.modules() if isinstance(m, nn.Conv2d)]
    assert {c.bias is not None for c in convs} == {kind == "none" or bool(tree.get("block"))}


@pytest.mark.parametrize(
    ("tree", "channels"),
    [
        ({**STAGES, "stem_width": 6}, "6 channels"),
        ({"kind": "airbench", "channels": [4, 6]}, "6 channels"),
        ({**CNN, "channels": [4, 4], "hidden_features": [10]}, "10 channels"),
        ({**STAGES, "channels": [4, 4], "input_norm": True}, "3 channels"),
    ],
)
def test_groups_that_do_not_divide_the_channels_are_refused(tree, channels):
    model = build({"model": {**tree, "norm": {"kind": "group", "num_groups": 4}}}).model
    with pytest.raises(RecipeError) as caught:
        build_body(model, (8, 8, 3), 10)
    assert f"model.norm.num_groups=4 doesn't divide the network's {channels}" in str(caught.value)


@pytest.mark.parametrize("norm", [{"kind": "instance"}, {"kind": "group", "num_groups": 4}])
def test_a_normalization_of_single_values_is_refused(norm):
    tree = {"stem_width": 4, "depths": [1, 1], "channels": [4, 4], "strides": [4, 2], "norm": norm}
    model = build({"model": tree}).model
    build_body(model, (12, 8, 3), 10)
    with pytest.raises(RecipeError, match=f"model.norm.kind={norm['kind']} leaves nothing of 4"):
        build_body(model, (8, 8, 3), 10)


def test_the_default_is_torch_s_to_the_bit():
    ours, torch_s = BatchNormConfig().build(3, (8, 8)), nn.BatchNorm2d(3)
    assert (ours.momentum, ours.eps) == (torch_s.momentum, torch_s.eps) == (0.1, 1e-5)
    assert ours.weight.requires_grad
    assert ours.bias.requires_grad


def test_airbench_s_values_by_the_formula():
    layer = BatchNormConfig(scale=False, momentum=0.4, eps=1e-12).build(2, (8, 8))
    assert not layer.weight.requires_grad
    assert layer.bias.requires_grad
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])[:, :, None, None]
    torch.testing.assert_close(layer(x).flatten(1), torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    # 0.6 of the old values 0 and 1, 0.4 of the mean and the unbiased variance
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.4 * 2, 0.4 * 20]))
    torch.testing.assert_close(layer.running_var, torch.tensor([0.6 + 0.4 * 2, 0.6 + 0.4 * 200]))


def test_eps_is_added_to_the_variance():
    layer = BatchNormConfig(eps=3.0).build(1, (8, 8))
    x = torch.tensor([-1.0, 1.0])[:, None, None, None]
    torch.testing.assert_close(layer(x).flatten(), torch.tensor([-0.5, 0.5]))


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_every_norm_of_a_network_is_the_recipe_s(tree):
    part = {"scale": False, "momentum": 0.25, "eps": 0.001}
    _, layers = norms({**tree, "norm": part})
    assert len(layers) == 6
    assert {(n.momentum, n.eps, n.weight.requires_grad) for n in layers} == {(0.25, 0.001, False)}


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_one_pass_per_step_changes_nothing(tree):
    body, layers = norms(tree)
    before = [norm.momentum for norm in layers]
    momenta = batch_norms(body)
    for passes in (3, 1):
        set_passes(momenta, passes)
        assert ([norm.momentum for norm in layers] == before) == (passes == 1)


@pytest.mark.parametrize("passes", [2, 3, 8])
@pytest.mark.parametrize("momentum", [1.0, 0.4, 0.1])
def test_several_passes_replace_as_much_as_one(passes, momentum):
    body, layers = norms({**CNN, "norm": {"momentum": momentum}})
    classifier = Classifier(body, [0.5] * 3, [0.2] * 3)
    set_passes(batch_norms(classifier), passes)
    assert {norm.momentum for norm in layers} == {layers[0].momentum}
    assert {type(norm) for norm in layers} == {nn.BatchNorm1d, nn.BatchNorm2d}
    layer = layers[0]
    layer.running_mean.fill_(5.0)
    for _ in range(passes):
        layer(torch.zeros(2, 4, 1, 1))
    torch.testing.assert_close(layer.running_mean, torch.full((4,), 5 * (1 - momentum)))
