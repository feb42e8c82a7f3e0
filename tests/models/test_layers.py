"""Activations by their formulas; dropout and activations in their places; initialization."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.models.build import build_body, count_parameters
from cifarlab.models.configs import Activation, LayeredConfig
from cifarlab.models.layers import build_activation
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError

FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
}
CNN = {"kind": "cnn"}
ACTIVATIONS = get_args(get_args(Activation)[0])  # of the annotated literal
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


def body(tree, shape=(8, 8, 3)):
    torch.manual_seed(0)
    return build_body(build({"model": tree}).model, shape, 10)


def layers_run(net, shape=(3, 8, 8)):
    """The kinds of layers in the order in which a forward pass runs them."""
    order = []
    nothing = (nn.Identity, nn.Sequential)
    leaves = [m for m in net.modules() if not list(m.children()) and type(m) not in nothing]
    handles = [
        m.register_forward_hook(lambda m, *_: order.append(type(m).__name__)) for m in leaves
    ]
    net(torch.zeros(2, *shape))
    for handle in handles:
        handle.remove()
    return order


def neighbours(order, name):
    """What runs right before and right after each layer of that kind."""
    return [(order[i - 1], order[i + 1]) for i, layer in enumerate(order) if layer == name]


@every_activation
def test_an_activation_is_its_formula(name):
    x = np.linspace(-9, 9, 201)
    y = build_activation(name).double()(torch.tensor(x)).detach()
    np.testing.assert_allclose(y.numpy(), [FORMULAS[name](v) for v in x], rtol=1e-12, atol=1e-15)


@every_activation
@pytest.mark.parametrize("kind", LayeredConfig.kinds())
def test_all_activations_are_the_recipe_s(kind, name):
    kinds = {type(build_activation(n)) for n in ACTIVATIONS}
    net = body({"kind": kind, "activation": name})
    assert {type(m) for m in net.modules() if type(m) in kinds} == {type(build_activation(name))}


@pytest.mark.parametrize("kind", LayeredConfig.kinds())
def test_no_dropout_by_default(kind):
    assert not [m for m in body({"kind": kind}).modules() if isinstance(m, nn.Dropout)]


def test_residual_dropout_after_each_block_s_first_activation():
    net = body({"dropout": 0.3, "depths": [2, 2, 1, 1]})
    assert neighbours(layers_run(net), "Dropout") == [("ReLU", "PackedConv2d")] * 6


def test_residual_dropout_of_each_stage():
    net = body({"dropout": [0.1, 0, 0.2, 0.3], "depths": [2, 1, 1, 1], "head_dropout": 0.4})
    rates = [m.p for m in net.modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.1, 0.1, 0.2, 0.3, 0.4]


def test_residual_dropout_before_the_head():
    net = body({"head_dropout": 0.3})
    assert neighbours(layers_run(net), "Dropout") == [("ReLU", "Head")]


def test_cnn_dropout_after_each_pool_and_the_hidden_linear_layer():
    rates = [0.1, 0.2, 0.3, 0.4]
    net = body({"kind": "cnn", "dropout": rates})
    pooled = [("MaxPool2d", "PackedConv2d")] * 2 + [("MaxPool2d", "Flatten")]
    assert neighbours(layers_run(net), "Dropout") == [*pooled, ("ReLU", "Head")]
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == rates


def test_cnn_dropout_only_where_it_is_above_0():
    net = body({"kind": "cnn", "dropout": [0, 0.2, 0, 0]})
    assert neighbours(layers_run(net), "Dropout") == [("MaxPool2d", "PackedConv2d")]


@pytest.mark.parametrize(
    ("dropout", "rates"),
    [
        (0.3, [0.3] * 4),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.3]),
        ([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_cnn_dropout_one_for_all_or_for_the_linear_layers(dropout, rates):
    net = body({"kind": "cnn", "channels": [4, 5], "hidden_features": [6, 7], "dropout": dropout})
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == rates


@pytest.mark.parametrize("tree", [{"dropout": 0.5}, {"head_dropout": 0.5}, {**CNN, "dropout": 0.5}])
def test_dropout_acts_in_training_only(tree):
    net = body(tree)
    x = torch.randn(4, 3, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_the_layers_of_the_tutorial_cnn():
    block = ["PackedConv2d", "ReLU", "PackedConv2d", "ReLU", "MaxPool2d"]
    head = ["Flatten", "Linear", "ReLU", "Head"]
    assert layers_run(body(CNN)) == block * 3 + head


def test_the_layers_of_the_classic_cnn():
    tree = {
        "channels": [6, 16],
        "kernel_size": 5,
        "block": ["conv", "act", "pool"],
        "hidden_features": [9, 8],
    }
    block = ["PackedConv2d", "ReLU", "MaxPool2d"]
    head = ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Head"]
    net = body({**CNN, **tree})
    assert layers_run(net) == block * 2 + head
    assert {m.kernel_size for m in net.modules() if isinstance(m, nn.Conv2d)} == {(5, 5)}


COMBINED = ["conv", "act", "norm", "conv", "act", "norm", "pool", "dropout"]


@pytest.mark.parametrize("exchanged", [False, True])
def test_kth2024_s_combined_network_and_the_same_with_norm_and_dropout_exchanged(exchanged):
    names = {"conv": "PackedConv2d", "act": "ReLU", "pool": "MaxPool2d", "linear": "Linear"}
    names |= {"norm": "BatchNorm2d", "dropout": "Dropout"}
    swapped = {"norm": "dropout", "dropout": "norm"} if exchanged else {}
    block = [swapped.get(step, step) for step in COMBINED]
    order = [swapped.get(step, step) for step in ["linear", "act", "norm", "dropout"]]
    net = body({**CNN, "block": block, "linear_order": order, "dropout": [0.2, 0.3, 0.4, 0.5]})
    after = [names[step].replace("2d", "1d" if step == "norm" else "2d") for step in order]
    expected = [names[step] for step in block] * 3 + ["Flatten", *after, "Head"]
    assert layers_run(net) == expected
    rates = [m.p for m in net.modules() if isinstance(m, nn.Dropout)]
    each = 2 if exchanged else 1
    assert rates == [0.2] * each + [0.3] * each + [0.4] * each + [0.5]


@pytest.mark.parametrize("blocks", [1, 3, 5])
def test_a_pool_that_would_leave_nothing_is_refused(blocks):
    model = build({"model": {**CNN, "channels": [4] * blocks}}).model
    build_body(model, (2**blocks, 2**blocks, 3), 10)
    for shape in ((2**blocks - 1, 2**blocks, 3), (2**blocks, 2**blocks - 1, 3)):
        with pytest.raises(RecipeError, match=r"model.block: a pool of (1 x .|. x 1) pixels would"):
            build_body(model, shape, 10)


def test_without_pools_any_depth_passes():
    net = body({**CNN, "channels": [2] * 12, "block": ["conv", "act"]})
    assert layers_run(net).count("PackedConv2d") == 12


@pytest.mark.parametrize("tree", [{}, CNN, {"kind": "airbench"}], ids=str)
def test_a_network_with_too_many_parameters_is_refused(tree):
    count = count_parameters(build({"model": tree}).model, (8, 8, 3))
    before = torch.get_rng_state()
    with pytest.raises(RecipeError) as caught:
        build_body(build({"model": {**tree, "max_parameters": count - 1}}).model, (8, 8, 3), 10)
    assert f"model.max_parameters={count - 1:,}: this network has {count:,}" in str(caught.value)
    assert torch.equal(torch.get_rng_state(), before)
    body({**tree, "max_parameters": count})


def test_residual_convolutions_start_normal_by_fan_out():
    for weight in (p for p in body({}).parameters() if p.ndim == 4):
        fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
        std = weight.double().std().item()
        assert std == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)


def test_the_tutorial_cnn_starts_uniform_by_fan_in_with_biases_0():
    for name, parameter in body(CNN).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            bound = math.sqrt(6 / parameter[0].numel())
            assert 0.9 * bound < parameter.abs().max() <= bound
