"""Convolutions that start by passing their input through."""

import pytest
import torch
from torch import nn

from cifarlab.models import _KINDS, build_body
from cifarlab.models.layers import dirac_
from cifarlab.recipe import build


def bodies(**settings):
    """The same network, initialised as usual and with dirac."""
    for initialisation in ("usual", "dirac"):
        torch.manual_seed(0)
        tree = {**settings, "initialisation": initialisation}
        yield build_body(build({"model": tree}).model, (8, 8, 3), 10)


@pytest.mark.parametrize(("channels_in", "channels"), [(3, 5), (5, 3), (4, 4), (1, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_first_filters_pass_their_input_through(channels_in, channels, kernel):
    conv = nn.Conv2d(channels_in, channels, kernel, padding=kernel // 2, bias=False)
    before = conv.weight.detach().clone()
    dirac_(conv)
    x = torch.randn(2, channels_in, 7, 6)
    same = min(channels_in, channels)
    torch.testing.assert_close(conv(x)[:, :same], x[:, :same])
    assert torch.equal(conv.weight[same:], before[same:])


def test_with_a_stride_and_an_even_kernel():
    conv = nn.Conv2d(2, 2, 2, stride=2, bias=False)
    dirac_(conv)
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(conv(x), x[:, :, 1::2, 1::2])


@pytest.mark.parametrize("kind", _KINDS)
def test_it_replaces_those_filters_of_every_convolution_and_nothing_else(kind):
    usual, dirac = bodies(kind=kind)
    convs = {name for name, m in usual.named_modules() if isinstance(m, nn.Conv2d)}
    other = dirac.state_dict()
    for name, value in usual.state_dict().items():
        changed = other[name].clone()
        if name.rpartition(".")[0] in convs and name.endswith("weight"):
            filters = min(value.shape[:2])
            for i in range(filters):
                identity = torch.zeros_like(value[i])
                identity[i, value.shape[2] // 2, value.shape[3] // 2] = 1
                assert torch.equal(changed[i], identity)
            changed[:filters] = value[:filters]
        assert torch.equal(changed, value)


@pytest.mark.parametrize("kind", ["speed", "residual"])
def test_the_whitening_layer_is_spared(kind):
    usual, dirac = bodies(kind=kind, whitening={"kernel": 3})
    (ours, _), (theirs, _) = dirac.whitening, usual.whitening
    assert torch.equal(ours.bias, theirs.bias)
    assert not ours.weight.any()
    assert not theirs.weight.any()


def test_only_the_speed_network_starts_so_by_default():
    by_default = {kind: build({"model": {"kind": kind}}).model.initialisation for kind in _KINDS}
    assert {kind for kind, name in by_default.items() if name == "dirac"} == {"speed"}
