"""Adaptive gradient clipping (Brock et al. 2021, arXiv:2102.06171, equation 3)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MIN_NORM = 1e-3  # least norm of a unit's weights


@torch.no_grad()
def adaptive_clip_grad(parameters: Iterable[nn.Parameter], clip_factor: float) -> None:
    """Shrink each unit's gradient to at most ``clip_factor`` of the norm of its weights, in place.

    A unit is a row of a matrix, a filter, or a whole vector (biases, gains). A norm of weights
    below ``MIN_NORM`` counts as ``MIN_NORM``. This does not wait for the device.
    """
    for p in parameters:
        if p.grad is None:
            continue
        max_norms = clip_factor * _unitwise_norm(p).clamp(min=MIN_NORM)
        norms = _unitwise_norm(p.grad)
        p.grad.mul_(torch.where(norms > max_norms, max_norms / norms, torch.ones_like(norms)))


def _unitwise_norm(tensor: Tensor) -> Tensor:
    """Return the Euclidean norm of each unit, in a shape that broadcasts to the tensor."""
    dims = tuple(range(1, tensor.ndim)) if tensor.ndim > 1 else (0,)
    return torch.linalg.vector_norm(tensor, dim=dims, keepdim=True)
