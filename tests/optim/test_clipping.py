"""Adaptive gradient clipping against equation 3 of Brock et al. 2021, unit by unit in float64."""

import pytest
import torch
from torch import nn

from cifarlab.optim.clipping import adaptive_clip_grad

SHAPES = [(7,), (5, 4), (6, 3, 2, 2)]


def parameters(gradient_scale):
    generator = torch.Generator().manual_seed(0)
    params = []
    for shape in SHAPES:
        p = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
        p.data[0] = 0  # a unit without weights: its norm counts as 1e-3
        p.grad = gradient_scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        params.append(p)
    return params


def clip_by_unit(p, clip_factor):
    units = [(p.detach(), p.grad)] if p.ndim == 1 else list(zip(p.detach(), p.grad, strict=True))
    clipped = []
    for weights, gradient in units:
        largest = clip_factor * max(float(weights.square().sum()) ** 0.5, 1e-3)
        norm = float(gradient.square().sum()) ** 0.5
        clipped.append(gradient * largest / norm if norm > largest else gradient)
    return clipped[0] if p.ndim == 1 else torch.stack(clipped)


@pytest.mark.parametrize("clip_factor", [0.01, 0.3, 10])
@pytest.mark.parametrize("scale", [1e-3, 0.1, 10])
def test_against_one_unit_at_a_time(clip_factor, scale):
    params = parameters(scale)
    expected = [clip_by_unit(p, clip_factor) for p in params]
    adaptive_clip_grad(params, clip_factor)
    for p, gradient in zip(params, expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-12, atol=1e-15)


def test_small_gradients_stay_to_the_last_bit():
    params = parameters(1e-6)
    before = [p.grad.clone() for p in params]
    adaptive_clip_grad(params, 0.5)
    assert all(torch.equal(p.grad, b) for p, b in zip(params, before, strict=True))


def test_zero_gradients_stay_zero_and_none_stays_none():
    zero, none = (nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    zero.grad = torch.zeros(3, 2)
    adaptive_clip_grad([zero, none], 0.1)
    assert torch.equal(zero.grad, torch.zeros(3, 2))
    assert none.grad is None


def test_it_never_reads_a_number_from_the_device():
    p = nn.Parameter(torch.ones(3, 2, device="meta"))
    p.grad = torch.ones(3, 2, device="meta")
    adaptive_clip_grad([p], 0.1)
    assert p.grad.is_meta
