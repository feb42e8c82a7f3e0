"""Convolutions with several images in a row: the plain convolution, in another order of sums."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from cifarlab.models.build import build_body
from cifarlab.models.packed_conv import (
    PackedConv2d,
    pack_images,
    packed_conv2d,
    should_pack,
    unpack_images,
)
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import build, change
from cifarlab.system import device as compute
from cifarlab.system.errors import UserError

SIZES = [(8, 8), (7, 7), (5, 3), (4, 4), (3, 4), (1, 1)]
LAYER = torch.zeros(64, 64, 3, 3)


@pytest.fixture
def packing(monkeypatch):
    monkeypatch.setenv("CIFARLAB_PACK", "1")


def with_gradients(convolve, x, weight, bias, grad_y):
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
    out = convolve(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad_y)]


def padded_conv(x, weight, bias):
    return functional.conv2d(x, weight, bias, padding=1)


@pytest.mark.parametrize("in_a_row", [1, 4, 8])
@pytest.mark.parametrize("n", [1, 3, 4, 13])
def test_rows_hold_the_images_and_a_zero_column_after_each(n, in_a_row):
    images = torch.randn(n, 2, 3, 5)
    rows = pack_images(images, in_a_row)
    assert rows.shape == (-(-n // in_a_row), 2, 3, in_a_row * 6)
    for i in range(n):
        row, first = rows[i // in_a_row], i % in_a_row * 6
        assert torch.equal(row[:, :, first : first + 5], images[i])
        assert (row[:, :, first + 5] == 0).all()
    assert rows.abs().sum().isclose(images.abs().sum())
    assert torch.equal(unpack_images(rows, images.shape, in_a_row), images)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 11, 16])
def test_output_and_gradients_are_the_plain_ones_in_float64(n, size):
    torch.manual_seed(0)
    x, grad_y = torch.randn(n, 5, *size).double(), torch.randn(n, 7, *size).double()
    weight, bias = torch.randn(7, 5, 3, 3).double(), torch.randn(7).double()
    ours = with_gradients(packed_conv2d, x, weight, bias, grad_y)
    theirs = with_gradients(padded_conv, x, weight, bias, grad_y)
    for result, expected in zip(ours, theirs, strict=True):
        assert result.shape == expected.shape
        assert torch.allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_output_and_gradients_are_the_plain_ones_within_rounding_in_bfloat16(size):
    torch.manual_seed(0)
    x, grad_y = torch.randn(11, 64, *size), torch.randn(11, 64, *size)
    weight, bias = torch.randn(64, 64, 3, 3), torch.randn(64)
    exact = with_gradients(padded_conv, *(t.bfloat16().double() for t in (x, weight, bias, grad_y)))
    with torch.autocast("cpu", torch.bfloat16):
        ours = with_gradients(packed_conv2d, x, weight, bias, grad_y.bfloat16())
        unpacked = with_gradients(padded_conv, x, weight, bias, grad_y.bfloat16())
    for result, reference, true in zip(ours, unpacked, exact, strict=True):
        error = (result.double() - true).norm() / true.norm()
        assert error <= 2 * (reference.double() - true).norm() / true.norm() + 2**-9


@pytest.mark.parametrize("requires_grad", [(True, False), (False, True)])
@pytest.mark.parametrize("size", [(8, 8), (4, 4)])
def test_a_gradient_that_nobody_needs_is_left_out(size, requires_grad):
    leaves = [torch.randn(3, 2, *size), torch.randn(2, 2, 3, 3)]
    for leaf, required in zip(leaves, requires_grad, strict=True):
        leaf.requires_grad_(required)
    packed_conv2d(*leaves, None).sum().backward()
    assert tuple(leaf.grad is not None for leaf in leaves) == requires_grad


def test_the_rule_asks_for_bfloat16_small_maps_and_many_channels(packing):
    x = torch.zeros(4, 64, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert should_pack(x, LAYER, (1, 1), (1, 1))
        assert not should_pack(torch.zeros(4, 64, 8, 9), LAYER, (1, 1), (1, 1))
        assert not should_pack(x, LAYER, (2, 2), (1, 1))
        assert not should_pack(x, LAYER, (1, 1), (0, 0))
        assert not should_pack(x, torch.zeros(64, 64, 1, 1), (1, 1), (1, 1))
        assert not should_pack(x, torch.zeros(63, 64, 3, 3), (1, 1), (1, 1))
        assert not should_pack(x, torch.zeros(64, 63, 3, 3), (1, 1), (1, 1))
        assert not should_pack(x.to("meta"), LAYER, (1, 1), (1, 1))
    assert not should_pack(x, LAYER, (1, 1), (1, 1))
    assert should_pack(x.bfloat16(), LAYER, (1, 1), (1, 1))


def test_the_processor_decides_and_the_environment_overrides(monkeypatch):
    def packs(amx, **environment):
        for name in ("CIFARLAB_PACK", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})
        compute.has_amx.cache_clear()
        return compute.packs_convolutions()

    assert packs(True)
    assert not packs(False)
    assert not packs(True, ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16")
    assert not packs(True, DNNL_MAX_CPU_ISA="avx2")
    assert packs(True, ONEDNN_MAX_CPU_ISA="AVX512_CORE_AMX")
    assert packs(False, CIFARLAB_PACK="1")
    assert not packs(True, CIFARLAB_PACK="0")
    with pytest.raises(UserError, match="CIFARLAB_PACK=yes"):
        packs(True, CIFARLAB_PACK="yes")
    monkeypatch.undo()
    compute.has_amx.cache_clear()


def test_the_choice_is_in_the_description(monkeypatch):
    cpu = torch.device("cpu")
    for value in "01":
        monkeypatch.setenv("CIFARLAB_PACK", value)
        description = compute.Compute(cpu, "bfloat16").describe()
        assert description["packed_convolutions"] is (value == "1")
    assert not compute.Compute(cpu, "float32").describe()["packed_convolutions"]
    assert not compute.Compute(cpu, "bfloat16", "default").describe()["packed_convolutions"]


NETWORKS = {
    "airbench": find("speed/94").model,
    "resnet": change(find("resnet18"), {"model.depths": [1, 1, 1, 1]}).model,
    "cnn": build({"model": {"kind": "cnn", "channels": [64, 64, 64, 64], "kernel_size": 3}}).model,
    "normalizer-free": build(
        {
            "model": {
                "norm": {"kind": "none"},
                "weight_standardization": True,
                "order": ["act", "conv", "act", "conv", "add"],
                "depths": [1, 1],
                "channels": [64, 64],
                "strides": [2, 2],
            }
        }
    ).model,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_networks_pack_and_keep_their_outputs_and_gradients(name, monkeypatch):
    torch.manual_seed(0)
    body = build_body(NETWORKS[name], (32, 32, 3), 10).double().eval()
    body.get_submodule("head").float()
    x = torch.randn(3, 3, 32, 32).double().to(memory_format=torch.channels_last)
    decisions = []

    def steps(pack_all):
        def rule(x, weight, stride, padding):
            packed = pack_all and weight.shape[2:] == (3, 3) and stride == (1, 1)
            decisions.append(packed and max(x.shape[2:]) <= 8)
            return decisions[-1]

        monkeypatch.setattr("cifarlab.models.packed_conv.should_pack", rule)
        body.zero_grad()
        body(x)[:, 0].sum().backward()
        return [p.grad.clone() for p in body.parameters() if p.grad is not None]

    before, after = steps(False), steps(True)
    assert any(decisions)
    for gradient, expected in zip(after, before, strict=True):
        assert (gradient - expected).norm() <= 1e-5 * expected.norm() + 1e-9


def test_without_autocast_a_layer_is_the_plain_one_bit_for_bit(packing):
    torch.manual_seed(0)
    layer = PackedConv2d(64, 64, 3, padding=1)
    x = torch.randn(5, 64, 8, 8)
    assert torch.equal(layer(x), nn.Conv2d.forward(layer, x))
    assert torch.equal(layer(x), functional.conv2d(x, layer.weight, layer.bias, padding=1))
