"""How convolutions and linear layers start: by variances, orthogonality or as identities."""

import json
import math
import subprocess
import sys
from typing import get_args

import pytest
import torch
from torch import nn

from cifarlab.models.build import build_body
from cifarlab.models.configs import Init, LayeredConfig
from cifarlab.models.initialization import initialize_
from cifarlab.recipes.text import build


def bodies(**settings):
    """The same network, initialised with default and with dirac."""
    for init in ("default", "dirac"):
        torch.manual_seed(0)
        tree = {**settings, "init": init}
        yield build_body(build({"model": tree}).model, (8, 8, 3), 10)


@pytest.mark.parametrize(("channels_in", "channels"), [(3, 5), (5, 3), (4, 4), (1, 2)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_the_first_filters_pass_their_input_through(channels_in, channels, kernel_size):
    conv = nn.Conv2d(channels_in, channels, kernel_size, padding=kernel_size // 2, bias=False)
    before = conv.weight.detach().clone()
    initialize_(conv, "dirac")
    x = torch.randn(2, channels_in, 7, 6)
    same = min(channels_in, channels)
    torch.testing.assert_close(conv(x)[:, :same], x[:, :same])
    assert torch.equal(conv.weight[same:], before[same:])


def test_with_a_stride_and_an_even_kernel():
    conv = nn.Conv2d(2, 2, 2, stride=2, bias=False)
    initialize_(conv, "dirac")
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(conv(x), x[:, :, 1::2, 1::2])


@pytest.mark.parametrize("kind", LayeredConfig.kinds())
def test_it_replaces_those_filters_of_every_convolution_and_nothing_else(kind):
    default, dirac = bodies(kind=kind)
    convs = {name for name, m in default.named_modules() if isinstance(m, nn.Conv2d)}
    other = dirac.state_dict()
    for name, value in default.state_dict().items():
        changed = other[name].clone()
        if name.rpartition(".")[0] in convs and name.endswith("weight"):
            filters = min(value.shape[:2])
            for i in range(filters):
                identity = torch.zeros_like(value[i])
                identity[i, value.shape[2] // 2, value.shape[3] // 2] = 1
                assert torch.equal(changed[i], identity)
            changed[:filters] = value[:filters]
        assert torch.equal(changed, value)


@pytest.mark.parametrize("kind", ["airbench", "resnet"])
def test_the_whitening_layer_is_left_alone(kind):
    default, dirac = bodies(kind=kind, whitening={"kernel_size": 3})
    (ours, _), (theirs, _) = dirac.whitening, default.whitening
    assert torch.equal(ours.bias, theirs.bias)
    assert not ours.weight.any()
    assert not theirs.weight.any()


def test_only_the_speed_network_starts_so_by_default():
    by_default = {
        kind: build({"model": {"kind": kind}}).model.init for kind in LayeredConfig.kinds()
    }
    assert {kind for kind, name in by_default.items() if name == "dirac"} == {"airbench"}


def build_layers(name, **settings):
    """A network with that initialisation, and its convolutions and linear layers but the head."""
    torch.manual_seed(0)
    tree = {"init": name, "channels": [32, 64], "hidden_features": [64], **settings}
    net = build_body(build({"model": {"kind": "cnn", **tree}}).model, (8, 8, 3), 10)
    return net, [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def fans(weight):
    field = math.prod(weight.shape[2:])
    return weight.shape[1] * field, weight.shape[0] * field


VARIANCES = {
    "kaiming_normal": lambda fan_in, fan_out: 2 / fan_in,
    "kaiming_uniform": lambda fan_in, fan_out: 2 / fan_in,
    "xavier_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "default": lambda fan_in, fan_out: 1 / (3 * fan_in),  # PyTorch's
}


@pytest.mark.parametrize("name", VARIANCES)
def test_variances_follow_the_paper(name):
    _, layers = build_layers(name)
    assert len(layers) == 6
    for layer in layers:
        weight = layer.weight.detach().double()
        expected = VARIANCES[name](*fans(weight))
        error = 6 * (2 / weight.numel()) ** 0.5  # of the variance of that many normal draws
        assert weight.var().item() == pytest.approx(expected, rel=error)
        assert weight.mean().abs() < 6 * (expected / weight.numel()) ** 0.5
        uniform = weight.abs().max() <= (3 * expected) ** 0.5 * (1 + 1e-6)
        assert uniform == (name != "kaiming_normal")
        assert layer.bias.any() == (name == "default")


def test_orthogonal_filters():
    _, layers = build_layers("orthogonal")
    for layer in layers:
        matrix = layer.weight.detach().double().flatten(1)
        rows, columns = matrix.shape
        product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
        torch.testing.assert_close(
            product, torch.eye(min(rows, columns), dtype=torch.float64), rtol=0, atol=1e-5
        )
        assert not layer.bias.any()


def test_residual_networks_and_their_head_too():
    torch.manual_seed(0)
    tree = {
        "init": "xavier_uniform",
        "stem_width": 8,
        "channels": [8],
        "depths": [1],
        "strides": [1],
    }
    net = build_body(build({"model": tree}).model, (8, 8, 3), 10)
    for layer in (net.stem.conv1, net.stages.stage1[0].branch.conv2, net.head):
        bound = (6 / sum(fans(layer.weight))) ** 0.5
        assert 0.8 * bound < layer.weight.abs().max() <= bound


def test_the_speed_network_s_head_keeps_its_own():
    tree = {"kind": "airbench", "channels": [8]}
    for name in ("default", "kaiming_normal", "orthogonal"):
        torch.manual_seed(0)
        net = build_body(build({"model": {**tree, "init": name}}).model, (8, 8, 3), 10)
        assert net.head.weight.std().item() == pytest.approx(1, abs=1e-6)
        conv = net.groups[0].convs[1].weight
        assert (abs(conv.flatten(1).norm(dim=1) - 1).max() < 1e-5) == (name == "orthogonal")


WITHOUT_VALUES = """
import json, sys
from cifarlab.models.build import count_parameters
from cifarlab.recipes.text import build
for tree in json.loads(sys.argv[1]):
    assert count_parameters(build({"model": tree}).model, (8, 8, 3), 10) > 1000
print("torch._dynamo" in sys.modules)
"""


def test_counting_parameters_imports_no_compiler():
    names = get_args(Init)
    trees = [{"kind": kind, "init": name} for kind in LayeredConfig.kinds() for name in names]
    command = [sys.executable, "-c", WITHOUT_VALUES, json.dumps(trees)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"
