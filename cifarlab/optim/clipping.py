"""Adaptive gradient clipping (Brock et al. 2021, arXiv:2102.06171, equation 3)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

LEAST = 1e-3  # norm that a unit's weights count as having at least


@torch.no_grad()
def clip_units(parameters: Iterable[nn.Parameter], share: float) -> None:
    """Shrink each unit's gradient to at most ``share`` of the norm of its weights, in place.

    A unit is a row of a matrix or a filter; of a vector (biases, gains) the whole. Weights of norm
    below ``LEAST`` count as that long. Waits for no device.
    """
    for p in parameters:
        if p.grad is None:
            continue
        largest = share * _norms(p).clamp(min=LEAST)
        norms = _norms(p.grad)
        p.grad.mul_(torch.where(norms > largest, largest / norms, torch.ones_like(norms)))


def _norms(tensor: Tensor) -> Tensor:
    """Euclidean norm of each unit, in a shape that multiplies the tensor."""
    axes = tuple(range(1, tensor.ndim)) if tensor.ndim > 1 else (0,)
    return torch.linalg.vector_norm(tensor, dim=axes, keepdim=True)
