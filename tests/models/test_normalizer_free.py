"""Normalizer-free networks against the equations of Brock et al. 2021 (arXiv:2101.08692)."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, gelu, relu, silu

from cifarlab.models.build import build_body
from cifarlab.models.normalizer_free import ScaledConv2d, activation_gain
from cifarlab.models.resnet_modules import ResidualBlock
from cifarlab.recipes.text import build

FREE = {
    "norm": {"kind": "none"},
    "weight_standardization": True,
    "order": ["act", "conv", "act", "conv", "add"],
}
RELU_GAIN = math.sqrt(2 / (1 - 1 / math.pi))  # section 4.3


def config(**settings):
    return build({"model": {**FREE, **settings}}).model


def standardize(conv):
    """Filter by filter: (w - mean) / (sqrt(fan-in) * standard deviation), times its gain."""
    filters = []
    for weight, gain in zip(conv.weight, conv.gain, strict=True):
        entries = weight.flatten()
        mean = entries.sum() / len(entries)
        variance = ((entries - mean) ** 2).sum() / len(entries)
        filters.append(gain * (weight - mean) / (len(entries) * variance).sqrt())
    return torch.stack(filters)


def randomize(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (3, 2), (1, 2)])
def test_a_convolution_by_the_equation(kernel_size, stride):
    conv = randomize(ScaledConv2d(3, 5, kernel_size, stride, kernel_size // 2))
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    expected = conv2d(x, standardize(conv), conv.bias, stride=stride, padding=kernel_size // 2)
    torch.testing.assert_close(conv(x), expected)


def test_a_filter_without_variance_is_nothing_and_no_nan():
    conv = ScaledConv2d(2, 2, 3, 1, 1, bias=False)
    conv.weight.data.fill_(0.3)
    conv(torch.randn(1, 2, 4, 4)).sum().backward()
    assert conv.standardized_weight().abs().max() < 1e-5
    assert conv.weight.grad.isfinite().all()


@pytest.mark.parametrize(("name", "function"), [("relu", relu), ("silu", silu), ("gelu", gelu)])
def test_gains_make_the_variance_of_an_activation_1(name, function):
    torch.manual_seed(0)
    y = function(torch.randn(10**6, dtype=torch.float64)) * activation_gain(name)
    assert y.var().item() == pytest.approx(1, abs=0.01)


def test_the_gain_of_relu_is_the_paper_s():
    assert activation_gain("relu") == pytest.approx(RELU_GAIN, rel=1e-6)


@pytest.mark.parametrize(
    ("channels_in", "stride", "kernel_size"), [(6, 1, 0), (4, 1, 1), (6, 2, 3)]
)
def test_a_block_by_the_equation(channels_in, stride, kernel_size):
    """x + alpha * gain * f(x / beta), f = conv g conv g, g the scaled activation."""
    model = config(alpha=0.3, shortcut_kernel_size=kernel_size or 1)
    block = randomize(ResidualBlock(model, (9, 9, channels_in), 6, stride, 0.0, 1.7))
    x = torch.randn(2, channels_in, 9, 9, dtype=torch.float64)
    activated = (x / math.sqrt(1.7)).clamp(min=0) * activation_gain("relu")
    first, second = block.branch.conv1, block.branch.conv2
    y = conv2d(activated, standardize(first), first.bias, stride=stride, padding=1)
    y = y.clamp(min=0) * activation_gain("relu")
    y = conv2d(y, standardize(second), second.bias, padding=1)
    shortcut = x
    if kernel_size:
        conv = block.shortcut.conv1
        pad = kernel_size // 2
        shortcut = conv2d(activated, standardize(conv), conv.bias, stride=stride, padding=pad)
    torch.testing.assert_close(block(x), shortcut + 0.3 * block.gain * y)
    assert block.variance == pytest.approx((1.0 if kernel_size else 1.7) + 0.3**2)


def blocks(net):
    return [block for stage in net.stages for block in stage]


def test_beta_follows_the_expected_variance_and_is_reset_where_the_shape_changes():
    model = config(stem_width=4, depths=[3, 2, 1], channels=[4, 6, 6], strides=[1, 2, 1], alpha=0.5)
    net = build_body(model, (8, 8, 3), 10)
    # variances of what comes in: 1 + 0.25 per block, and 1.25 after the transition
    expected = [1, 1.25, 1.5, 1.75, 1.25, 1.5]
    assert [block.beta**2 for block in blocks(net)] == pytest.approx(expected)


def test_at_the_start_only_shortcuts_pass():
    net = build_body(config(stem_width=4, depths=[2], channels=[4], strides=[1]), (8, 8, 3), 10)
    x = net.stem(torch.randn(2, 3, 8, 8))
    assert torch.equal(net.stages(x), x)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_the_signal_s_variance_is_the_predicted_one(activation):
    """In the middle of a map that is so large that no zero of the padding gets there."""
    torch.manual_seed(0)
    model = config(
        stem_width=128,
        depths=[4, 3],
        channels=[128, 192],
        strides=[1, 2],
        alpha=1.0,
        activation=activation,
    )
    net = build_body(model, (56, 56, 3), 10)
    for block in blocks(net):
        nn.init.ones_(block.gain)
    variances = []
    with torch.no_grad():
        x = net.stem(torch.randn(4, 3, 56, 56))
        for block in blocks(net):
            x = block(x)
            middle = x.shape[2] // 2
            variances.append(x[:, :, middle - 2 : middle + 2, middle - 2 : middle + 2].var().item())
    assert variances == pytest.approx([2, 3, 4, 5, 2, 3, 4], rel=0.15)


def test_standardized_weights_with_a_normalization_are_not_scaled():
    settings = {"stem_width": 8, "depths": [1], "channels": [8], "strides": [1]}
    model = build({"model": {**settings, "weight_standardization": True}}).model
    net = build_body(model, (8, 8, 3), 10)
    assert not [m for m in net.modules() if isinstance(m, ResidualBlock) and m.normalizer_free]
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert {type(conv) for conv in convs} == {ScaledConv2d}
    assert all(conv.bias is None for conv in convs)
