"""Residual networks against forward passes that are written out; their parameters by hand."""

from itertools import pairwise, permutations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from cifarlab.models.build import build_body, count_parameters
from cifarlab.models.resnet_modules import ResidualBlock
from cifarlab.recipes.text import build


def config(**settings):
    return build({"model": settings}).model


def batch_normalize(x, norm):
    """Batch normalisation by this batch's own mean and population variance per channel."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    weight, bias = (p[:, None, None] for p in (norm.weight, norm.bias))
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def run_by_hand(block, order, x, stride, kernel_size):
    """The order step by step; ``kernel_size`` of the shortcut's convolution, 0: there is none."""
    layers = block.before, block.branch, block.after
    convs, norms = (
        iter([m for part in layers for m in part if isinstance(m, kind)])
        for kind in (nn.Conv2d, nn.BatchNorm2d)
    )
    y, first = x, None
    for index, step in enumerate(order):
        if step == "conv":
            conv = next(convs)
            first = y if first is None else first
            pad = conv.kernel_size[0] // 2
            y = conv2d(y, conv.weight, stride=conv.stride, padding=pad)
        elif step == "norm":
            y = batch_normalize(y, next(norms))
        elif step == "act":
            y = y.clamp(min=0)
        elif step == "add":
            shortcut = x
            if kernel_size:
                weight = block.shortcut.conv1.weight
                shortcut = conv2d(first, weight, stride=stride, padding=kernel_size // 2)
                last = max(i for i, other in enumerate(order) if other == "conv")
                if "norm" in order[last:index]:
                    shortcut = batch_normalize(shortcut, block.shortcut.norm1)
            y = y + shortcut
    assert next(convs, None) is next(norms, None) is None
    return y


POST = ["conv", "norm", "act", "conv", "norm", "add", "act"]
PRE = ["norm", "act", "conv", "norm", "act", "conv", "add"]
KTH2022 = ["conv", "act", "norm", "conv", "dropout", "add", "act", "norm"]
# He et al. 2016b, figure 4 (b), (c) and (d); fudan's figure 9 shows sequences of this kind
OTHERS = [
    ["conv", "norm", "act", "conv", "add", "norm", "act"],
    ["conv", "norm", "act", "conv", "norm", "act", "add"],
    ["act", "conv", "norm", "act", "conv", "norm", "add"],
    ["conv", "norm", "conv", "norm", "add", "act"],
    ["conv", "norm", "conv", "norm", "act", "add"],
    ["norm", "conv", "norm", "act", "conv", "norm", "add"],
]
SHAPES = [(4, 4, 1, 0), (4, 6, 1, 1), (4, 4, 2, 1), (4, 6, 2, 3), (4, 6, 1, 3), (6, 4, 3, 1)]


def assert_equal(model, order, channels_in, channels, stride, kernel_size):
    torch.manual_seed(0)
    block = ResidualBlock(model, (9, 9, channels_in), channels, stride).double()
    for parameter in block.parameters():  # norms start as 1 and 0, which would hide a swap
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, channels_in, 9, 9, dtype=torch.float64, requires_grad=True)
    weights = [x, *block.parameters()]
    ours, expected = block(x), run_by_hand(block, order, x, stride, kernel_size)
    torch.testing.assert_close(ours, expected)
    gradients = (torch.autograd.grad(y.square().sum(), weights) for y in (ours, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("channels_in", "channels", "stride", "kernel_size"), SHAPES)
@pytest.mark.parametrize("order", [POST, PRE, KTH2022, *OTHERS], ids=" ".join)
def test_a_block_is_its_order_step_by_step(order, channels_in, channels, stride, kernel_size):
    model = config(shortcut_kernel_size=kernel_size or 1, order=order)
    assert_equal(model, order, channels_in, channels, stride, kernel_size)


@pytest.mark.parametrize("first", [*permutations(["norm", "act"])], ids=" ".join)
@pytest.mark.parametrize("last", [*permutations(["norm", "act", "add"])], ids=" ".join)
def test_any_order_of_what_follows_the_convolutions(first, last):
    order = ["conv", *first, "conv", *last]
    assert_equal(config(order=order), order, 4, 6, 2, 1)


# a bottleneck goes twice through what lies between its order's two convolutions
BOTTLENECKS = {
    "post-activation": (POST, [*POST[:3], *POST[:3], *POST[3:]]),
    "pre-activation": (PRE, ["norm", "act", "conv", *PRE]),
    "three convolutions": (["conv", "act", "conv", "conv", "norm", "add"],) * 2,
}


@pytest.mark.parametrize("name", BOTTLENECKS)
@pytest.mark.parametrize(
    ("channels_in", "stride", "kernel_size"), [(8, 1, 0), (6, 1, 1), (8, 2, 3), (20, 2, 1)]
)
def test_a_bottleneck_is_its_order_step_by_step(name, channels_in, stride, kernel_size):
    recipe_order, order = BOTTLENECKS[name]
    model = config(order=recipe_order, block="bottleneck", shortcut_kernel_size=kernel_size or 1)
    assert_equal(model, order, channels_in, 2, stride, kernel_size)
    block = ResidualBlock(model, (9, 9, channels_in), 2, stride)
    convs = [m for m in block.branch if isinstance(m, nn.Conv2d)]
    shapes = [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs]
    assert shapes == [(2, 1, 1), (2, 3, stride), (8, 1, 1)]


def names(layers):
    return [type(layer).__name__ for layer in layers]


@pytest.mark.parametrize(
    ("order", "stem", "tail"),
    [
        (POST, ["PackedConv2d", "BatchNorm2d", "ReLU"], []),
        (KTH2022, ["PackedConv2d", "ReLU", "BatchNorm2d"], []),
        (PRE, ["PackedConv2d"], ["BatchNorm2d", "ReLU"]),
        (["dropout", *PRE], ["PackedConv2d"], ["BatchNorm2d", "ReLU"]),
        (["conv", "act", "conv", "add"], ["PackedConv2d", "ReLU"], []),
    ],
    ids=lambda v: " ".join(v),
)
def test_the_stem_and_the_tail_follow_the_order(order, stem, tail):
    model = config(order=order, depths=[1], channels=[8], strides=[1], stem_width=4)
    net = build_body(model, (8, 8, 3), 10).eval()
    assert (names(net.stem), names(net.tail)) == (stem, tail)
    x = torch.randn(2, 3, 8, 8)
    features = net.stages(net.stem(x))
    for layer in net.tail:
        features = layer(features)
    torch.testing.assert_close(net(x), net.head(features.mean((2, 3))))


def test_the_image_is_normalized_first():
    net = build_body(config(input_norm=True, stem_width=4), (8, 8, 3), 10)
    assert type(net.input_norm) is nn.BatchNorm2d
    seen = []
    net.stem.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    x = torch.randn(4, 3, 8, 8) * 3 + 1
    net(x)
    torch.testing.assert_close(seen[0], batch_normalize(x, net.input_norm))


def count_by_hand(stem, blocks, widths, kernels, expansion, norms_per_block, shortcut_norm, tail):
    """Weights of a network of three-channel images and ten classes, added up layer by layer."""
    total, width = 9 * 3 * stem + (0 if tail else 2 * stem), stem
    for stage, (number, channels) in enumerate(zip(blocks, widths, strict=True)):
        for index in range(number):
            out = channels * expansion
            maps = [width, *[channels] * (len(kernels) - 1), out]
            for kernel_size, (a, b) in zip(kernels, pairwise(maps), strict=True):
                total += kernel_size**2 * a * b
            total += 2 * sum(norms_per_block(maps))
            if width != out or (index == 0 and stage > 0):
                total += width * out + 2 * out * shortcut_norm
            width = out
    return total + 2 * width * tail + width * 10 + 10


def test_resnet_50_counted_by_hand():
    settings = {"depths": [3, 4, 6, 3], "block": "bottleneck"}
    counted = count_by_hand(
        64, [3, 4, 6, 3], [64, 128, 256, 512], [1, 3, 1], 4, lambda maps: maps[1:], True, False
    )
    assert count_parameters(config(**settings)) == counted == 23_520_842


@pytest.mark.parametrize(
    ("depth", "factor", "published"), [(16, 8, 10_961_370), (28, 10, 36_479_194)]
)
def test_wide_residual_networks_counted_by_hand(depth, factor, published):
    blocks, widths = [(depth - 4) // 6] * 3, [16 * factor, 32 * factor, 64 * factor]
    order = ["norm", "act", "conv", "norm", "act", "dropout", "conv", "add"]
    model = config(
        stem_width=16, depths=blocks, channels=widths, strides=[1, 2, 2], order=order, dropout=0.3
    )
    counted = count_by_hand(16, blocks, widths, [3, 3], 1, lambda maps: maps[:2], False, True)
    assert count_parameters(model) == counted == published


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_shortcut_is_a_convolution_only_where_the_shape_changes(kernel_size):
    model = config(
        shortcut_kernel_size=kernel_size,
        depths=[2, 2],
        channels=[8, 16],
        strides=[1, 2],
        stem_width=8,
    )
    net = build_body(model, (8, 8, 3), 10)
    shortcuts = {n: m for n, m in net.named_modules() if n.endswith(".shortcut")}
    changed = {n: m for n, m in shortcuts.items() if list(m.children())}
    assert len(shortcuts) == 4
    assert list(changed) == ["stages.stage2.0.shortcut"]
    (shortcut,) = changed.values()
    kernels = [m.kernel_size for m in shortcut if isinstance(m, nn.Conv2d)]
    assert kernels == [(kernel_size, kernel_size)]
    assert shortcut(torch.zeros(2, 8, 9, 9)).shape == (2, 16, 5, 5)


@pytest.mark.parametrize(("size", "maps"), [(32, [32, 16, 8, 4]), (9, [9, 5, 3, 2])])
def test_the_strides_of_the_stages(size, maps):
    net = build_body(config(stem_width=2, channels=[2, 2, 2, 2]), (size, size, 3), 10)
    x = net.stem(torch.zeros(2, 3, size, size))
    assert x.shape == (2, 2, size, size)
    for stage, expected in zip(net.stages, maps, strict=True):
        x = stage(x)
        assert x.shape[2:] == (expected, expected)


def test_the_head_is_the_mean_over_the_map_and_a_linear_layer():
    torch.manual_seed(0)
    net = build_body(
        config(stem_width=4, depths=[1], channels=[4], strides=[1]), (8, 8, 1), 3
    ).eval()
    x = torch.randn(2, 1, 8, 8)
    features = net.stages(net.stem(x))
    expected = features.flatten(2).mean(2) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(x), expected)


def test_blocks_and_widths_are_those_of_the_recipe():
    net = build_body(
        config(stem_width=5, depths=[1, 3], channels=[6, 7], strides=[1, 2]), (8, 8, 3), 10
    )
    widths = [[block.branch.conv2.out_channels for block in stage] for stage in net.stages]
    assert widths == [[6], [7, 7, 7]]
    assert net.stem.conv1.out_channels == 5
