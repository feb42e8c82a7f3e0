"""Activations by their formulas; dropout and activations in their places; initialisation."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.models import _KINDS, build_body
from cifarlab.models.layers import activation
from cifarlab.recipe import build
from cifarlab.recipe.networks import Activation

FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
}
every_activation = pytest.mark.parametrize("name", get_args(Activation))


def body(tree, shape=(8, 8, 3)):
    torch.manual_seed(0)
    return build_body(build({"model": tree}).model, shape, 10)


def executed(net, shape=(3, 8, 8)):
    """The kinds of layers in the order in which a forward pass runs them."""
    order = []
    leaves = [m for m in net.modules() if not list(m.children()) and type(m) is not nn.Identity]
    handles = [
        m.register_forward_hook(lambda m, *_: order.append(type(m).__name__)) for m in leaves
    ]
    net(torch.zeros(2, *shape))
    for handle in handles:
        handle.remove()
    return order


def around(order, name):
    """What runs right before and right after each layer of that kind."""
    return [(order[i - 1], order[i + 1]) for i, layer in enumerate(order) if layer == name]


@every_activation
def test_an_activation_is_its_formula(name):
    x = np.linspace(-9, 9, 201)
    y = activation(name)(torch.tensor(x))
    np.testing.assert_allclose(y.numpy(), [FORMULAS[name](v) for v in x], rtol=1e-12, atol=1e-15)


@every_activation
@pytest.mark.parametrize("kind", _KINDS)
def test_every_place_has_the_chosen_activation(kind, name):
    kinds = {type(activation(n)) for n in get_args(Activation)}
    net = body({"kind": kind, "activation": name})
    assert {type(m) for m in net.modules() if type(m) in kinds} == {type(activation(name))}


@pytest.mark.parametrize("kind", _KINDS)
def test_no_dropout_unless_asked_for(kind):
    assert not [m for m in body({"kind": kind}).modules() if isinstance(m, nn.Dropout)]


def test_residual_dropout_after_each_block_s_first_activation():
    net = body({"dropout": 0.3, "blocks": [2, 2, 1, 1]})
    assert around(executed(net), "Dropout") == [("ReLU", "Conv2d")] * 6


def test_residual_dropout_before_the_dense_layer():
    net = body({"dropout": 0.3, "dropout_place": "head"})
    assert around(executed(net), "Dropout") == [("ReLU", "Head")]


def test_tutorial_dropout_after_each_pool_and_the_hidden_dense_layer():
    rates = [0.1, 0.2, 0.3, 0.4]
    net = body({"kind": "tutorial_cnn", "dropout": rates})
    pooled = [("MaxPool2d", "Conv2d")] * 2 + [("MaxPool2d", "Flatten")]
    assert around(executed(net), "Dropout") == [*pooled, ("ReLU", "Head")]
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == rates


def test_tutorial_dropout_only_where_its_rate_is_above_0():
    net = body({"kind": "tutorial_cnn", "dropout": [0, 0.2, 0, 0]})
    assert around(executed(net), "Dropout") == [("MaxPool2d", "Conv2d")]


def test_classic_dropout_after_each_hidden_dense_layer():
    net = body({"kind": "classic_cnn", "dropout": 0.3})
    assert around(executed(net), "Dropout") == [("ReLU", "Linear"), ("ReLU", "Head")]


@pytest.mark.parametrize(
    "tree", [{}, {"dropout_place": "head"}, {"kind": "classic_cnn"}], ids=lambda t: str(t)
)
def test_dropout_acts_in_training_only(tree):
    net = body({**tree, "dropout": 0.5})
    x = torch.randn(4, 3, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_the_layers_of_the_tutorial_cnn():
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    head = ["Flatten", "Linear", "ReLU", "Head"]
    assert executed(body({"kind": "tutorial_cnn"})) == block * 3 + head


def test_the_layers_of_the_classic_cnn():
    block = ["Conv2d", "ReLU", "MaxPool2d"]
    head = ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Head"]
    assert executed(body({"kind": "classic_cnn"})) == block * 2 + head


def test_residual_convolutions_start_normal_by_fan_out():
    for weight in (p for p in body({}).parameters() if p.ndim == 4):
        fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
        deviation = weight.double().std().item()
        assert deviation == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)


def test_the_tutorial_cnn_starts_uniform_by_fan_in_with_biases_0():
    for name, parameter in body({"kind": "tutorial_cnn"}).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            bound = math.sqrt(6 / parameter[0].numel())
            assert 0.9 * bound < parameter.abs().max() <= bound
