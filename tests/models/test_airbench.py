"""The speed-run network against airbench's forward pass, written out on the same weights."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from cifarlab.models.airbench_modules import ConvGroup
from cifarlab.models.build import build_body, count_parameters
from cifarlab.recipes.text import build


def config(**settings):
    return build({"model": {"kind": "airbench", **settings}}).model


def network(shape=(32, 32, 3), classes=10, **settings):
    """In float64 but for the head, and with random weights: identities hide what is left out."""
    torch.manual_seed(0)
    net = build_body(config(**settings), shape, classes).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    net.head.float()
    return net


def batch_normalize(x, norm):
    """Batch normalisation by this batch's own mean and population variance per channel."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    weight, bias = (p[:, None, None] for p in (norm.weight, norm.bias))
    return (x - mean) / (variance + 1e-12).sqrt() * weight + bias


def run_group_by_hand(group, x, shortcut, act):
    x = F.max_pool2d(F.conv2d(x, group.convs[0].weight, padding="same"), 2)
    first = x = act(batch_normalize(x, group.norms[0]))
    *middle, (last_conv, last_norm) = zip(group.convs[1:], group.norms[1:], strict=True)
    for conv, norm in middle:
        x = act(batch_normalize(F.conv2d(x, conv.weight, padding="same"), norm))
    x = batch_normalize(F.conv2d(x, last_conv.weight, padding="same"), last_norm)
    return act(x + first if shortcut else x)


def run_by_hand(net, x, shortcut, act):
    """The forward pass of airbench94_muon.py; with depth 3 and shortcut of airbench96_faster.py."""
    layer = net.whitening[0]
    x = act(F.conv2d(x, layer.weight, layer.bias))
    for group in net.groups:
        x = run_group_by_hand(group, x, shortcut, act)
    x = F.max_pool2d(x, 3)
    x = x.reshape(len(x), -1)
    return (x @ net.head.weight.T.double() / x.shape[1]).float()


@pytest.mark.parametrize("name", ["gelu", "silu", "elu"])
@pytest.mark.parametrize(("depths", "shortcut"), [*itertools.product((2, 3, 4), (False, True))])
def test_at_32_pixels_it_is_airbench_s_forward_pass(depths, shortcut, name):
    net = network(depths=depths, shortcut=shortcut, channels=[6, 10, 12], activation=name)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    weights = [p for p in net.parameters() if p.requires_grad]
    ours, reference = net(x), run_by_hand(net, x, shortcut, getattr(F, name))
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)
    gradients = (torch.autograd.grad(y.square().sum(), weights) for y in (ours, reference))
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def test_a_depth_of_1_is_one_convolution_per_group():
    net = network(depths=1, channels=[6, 7])
    (conv,), (norm,) = net.groups[0].convs, net.groups[0].norms
    x = torch.randn(4, 12 * 2, 9, 9, dtype=torch.float64)
    expected = F.max_pool2d(F.conv2d(x, conv.weight, padding="same"), 2)
    torch.testing.assert_close(net.groups[0](x), F.gelu(batch_normalize(expected, norm)))


def test_the_head_is_the_maximum_over_the_map_times_the_factor():
    nets = [network(channels=[5], logit_scale=scale).eval() for scale in (None, 0.3)]
    x = torch.randn(3, 3, 12, 15, dtype=torch.float64)
    for net, scale in zip(nets, (1 / 5, 0.3), strict=True):
        maps = net.groups(net.whitening(x)).detach().float()
        assert maps.shape == (3, 5, 5, 7)
        features = torch.tensor([[float(channel.max()) for channel in image] for image in maps])
        torch.testing.assert_close(net(x), scale * features @ net.head.weight.T)


def test_its_parameters_counted_by_hand():
    """There are 2 * 3 * 2 * 2 = 24 whitening filters, so: 24 whitening biases; convolutions of
    9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256) = 9 * 218,624 = 1,967,616 weights;
    2 * (64 + 256 + 256) = 1,152 biases of normalisations; 256 * 10 = 2,560 weights in the head.
    Together 1,971,352. Frozen are 24 * 12 = 288 whitening weights and 1,152 scales.
    """
    assert count_parameters(config()) == 1_971_352
    net = build_body(config(), (32, 32, 3), 10)
    assert sum(p.numel() for p in net.parameters()) == 1_971_352 + 288 + 1_152
    shapes = [tuple(p.shape) for p in net.parameters() if p.ndim > 1]
    assert shapes == [
        (24, 3, 2, 2),
        *[(64, 24, 3, 3), (64, 64, 3, 3)],
        *[(256, 64, 3, 3), (256, 256, 3, 3)],
        *[(256, 256, 3, 3), (256, 256, 3, 3)],
        (10, 256),
    ]


@pytest.mark.parametrize("depths", [1, 3])
@pytest.mark.parametrize("kernel_size", [0, 1, 2, 3])
def test_widths_and_depth_are_those_of_the_recipe(depths, kernel_size):
    model = config(channels=[4, 6], depths=depths, whitening={"kernel_size": kernel_size})
    net = build_body(model, (8, 8, 1), 10)
    convs = [[(c.in_channels, c.out_channels) for c in group.convs] for group in net.groups]
    width = 2 * kernel_size**2 or 1
    assert convs == [[(width, 4), *[(4, 4)] * (depths - 1)], [(4, 6), *[(6, 6)] * (depths - 1)]]
    assert not any(c.bias is not None for group in net.groups for c in group.convs)


def test_each_group_has_its_depth():
    net = network(channels=[4, 5, 6], depths=[1, 3, 2])
    convs = [[(c.in_channels, c.out_channels) for c in group.convs] for group in net.groups]
    assert convs == [[(24, 4)], [(4, 5), (5, 5), (5, 5)], [(5, 6), (6, 6)]]
    assert [len(group.norms) for group in net.groups] == [1, 3, 2]


def test_without_whitening_the_first_group_sees_the_image():
    net = network(channels=[6], whitening={"kernel_size": 0})
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    seen = []
    net.groups.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    net(x)
    assert torch.equal(seen[0], x)


@pytest.mark.parametrize("size", range(4, 97))
def test_every_size_passes_and_each_pool_leaves_something(size):
    net = network((size, size, 3), channels=[2, 3, 4, 5]).float()
    sides = []
    for group in net.groups:
        group.register_forward_hook(lambda *call: sides.append(tuple(call[2].shape[2:])))
    logits = net(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    side = size - 1
    for map_size in sides:
        side = side // 2 if side >= 2 else side
        assert map_size == (side, side)


def test_a_map_of_one_row_is_not_pooled():
    for rows, pooled in ((1, (1, 6)), (2, (1, 3))):
        group = ConvGroup(config(), (rows, 6, 2), 3, 2)
        assert group(torch.randn(2, 2, rows, 6)).shape == (2, 3, *pooled)
        assert group.shape == (*pooled, 3)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_head_starts_with_unit_std_and_no_bias(classes):
    torch.manual_seed(0)
    net = build_body(config(channels=[8]), (8, 8, 3), classes)
    assert net.head.bias is None
    assert net.head.weight.std().item() == pytest.approx(1, abs=1e-6)
    assert net.head.weight.abs().max() < 1.9  # uniform: sqrt(3) at most, but for the sample


def test_convolutions_start_as_pytorch_s_do():
    torch.manual_seed(0)
    net = build_body(config(init="default"), (32, 32, 3), 10)
    for conv in (conv for group in net.groups for conv in group.convs):
        bound = (9 * conv.in_channels) ** -0.5
        assert 0.99 * bound < conv.weight.abs().max() <= bound
