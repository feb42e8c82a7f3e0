"""The residual network against a forward pass that is written out."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from cifarlab.models import build_body
from cifarlab.models.residual import BasicBlock
from cifarlab.recipe import build


def config(**settings):
    return build({"model": settings}).model


def normalised(x, norm):
    """Batch normalisation by this batch's own mean and population variance per channel."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    weight, bias = (p[:, None, None] for p in (norm.weight, norm.bias))
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def written_out(block, x, stride, kernel):
    y = conv2d(x, block.conv1.weight, stride=stride, padding=1)
    y = normalised(y, block.norm1).clamp(min=0)
    y = normalised(conv2d(y, block.conv2.weight, padding=1), block.norm2)
    if kernel:
        *_, conv, norm = block.shortcut
        x = normalised(conv2d(x, conv.weight, stride=stride, padding=kernel // 2), norm)
    return (y + x).clamp(min=0)


@pytest.mark.parametrize(
    ("channels_in", "channels", "stride", "kernel"),
    [(4, 4, 1, 0), (4, 6, 1, 1), (4, 4, 2, 1), (4, 6, 2, 3), (4, 6, 1, 3), (6, 4, 3, 1)],
)
def test_a_block_is_its_formula(channels_in, channels, stride, kernel):
    torch.manual_seed(0)
    block = BasicBlock(config(shortcut_kernel=kernel or 1), channels_in, channels, stride).double()
    for parameter in block.parameters():  # norms start as 1 and 0, which would hide a swap
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, channels_in, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(block(x), written_out(block, x, stride, kernel))


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_shortcut_is_a_convolution_only_where_the_shape_changes(kernel):
    model = config(shortcut_kernel=kernel, blocks=[2, 2], channels=[8, 16], strides=[1, 2], stem=8)
    net = build_body(model, (8, 8, 3), 10)
    shortcuts = {n: m for n, m in net.named_modules() if n.endswith(".shortcut")}
    changed = {n: m for n, m in shortcuts.items() if list(m.children())}
    assert len(shortcuts) == 4
    assert list(changed) == ["stages.stage2.0.shortcut"]
    (shortcut,) = changed.values()
    kernels = [m.kernel_size for m in shortcut if isinstance(m, nn.Conv2d)]
    assert kernels == [(kernel, kernel)]
    assert shortcut(torch.zeros(2, 8, 9, 9)).shape == (2, 16, 5, 5)


@pytest.mark.parametrize(("size", "maps"), [(32, [32, 16, 8, 4]), (9, [9, 5, 3, 2])])
def test_the_strides_of_the_stages(size, maps):
    net = build_body(config(stem=2, channels=[2, 2, 2, 2]), (size, size, 3), 10)
    x = net.stem(torch.zeros(2, 3, size, size))
    assert x.shape == (2, 2, size, size)
    for stage, expected in zip(net.stages, maps, strict=True):
        x = stage(x)
        assert x.shape[2:] == (expected, expected)


def test_the_head_is_the_mean_over_the_map_and_a_dense_layer():
    torch.manual_seed(0)
    net = build_body(config(stem=4, blocks=[1], channels=[4], strides=[1]), (8, 8, 1), 3).eval()
    x = torch.randn(2, 1, 8, 8)
    features = net.stages(net.stem(x))
    expected = features.flatten(2).mean(2) @ net.dense.weight.T + net.dense.bias
    torch.testing.assert_close(net(x), expected)


def test_blocks_and_widths_are_those_of_the_recipe():
    net = build_body(config(stem=5, blocks=[1, 3], channels=[6, 7], strides=[1, 2]), (8, 8, 3), 10)
    widths = [[block.conv2.out_channels for block in stage] for stage in net.stages]
    assert widths == [[6], [7, 7, 7]]
    assert net.stem[0].out_channels == 5
