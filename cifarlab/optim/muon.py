"""Muon: momentum whose update is orthogonalized (Jordan et al. 2024, as in airbench94_muon).

A matrix W (R, C) with gradient G and momentum buffer M, both (R, C), is updated in this order:

    M <- momentum * M + G
    D  = G + momentum * M            (without nesterov: D = M)
    W <- W * sqrt(R) / |W|           (with normalize_weights; |.| is the Frobenius norm)
    W <- W * (1 - lr * weight_decay)
    W <- W - lr * orthogonalized(D)

A filter tensor (O, I, H, W) is a matrix of O rows. Which order its columns have decides nothing,
so they are taken as they lie in memory. Departures from airbench94_muon: decoupled weight decay; D
is scaled before it is rounded to bfloat16, not after; matrices of equal shape go through the
iteration together. All other parameters are updated as by PyTorch's SGD.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Tensors = list[Tensor] | tuple[Tensor, ...]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the quintic steepest at 0 (Jordan et al. 2024)
EPS = 1e-7  # added to the norm of a matrix before it divides
_MIN_NORM = 1e-12  # least divisor of a matrix that is normalised; zero stays zero


class MuonWithAuxSGD(Optimizer):
    """Muon for parameter groups with ``matrices`` true, SGD for the others.

    A group's keys, all in ``defaults``: ``lr``, ``momentum``, ``nesterov``, ``weight_decay``
    (decoupled for matrices, else L2), ``matrices``, and for these ``ns_steps``,
    ``normalize_weights`` and ``dtype``, in which the iteration computes (None: that of the
    parameters). State of a parameter: ``momentum_buffer``, with its shape and memory layout.
    Parameters without a gradient are left alone. A step does not wait for the device.
    """

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients: Tensors = [p.grad for p in parameters]
            if group["matrices"]:
                directions = self._add_momentum(parameters, gradients, group)
                updates = _orthogonalize(parameters, directions, group)
                _scale_and_decay(parameters, group)
            else:
                if group["weight_decay"]:
                    decay = group["weight_decay"]
                    gradients = torch._foreach_add(gradients, parameters, alpha=decay)
                updates = self._add_momentum(parameters, gradients, group)
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])

    def _add_momentum(
        self, parameters: Tensors, gradients: Tensors, group: dict[str, Any]
    ) -> Tensors:
        """Add gradients to the momentum buffers; return the updates, not to be changed in place."""
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, gradients)
        if not group["nesterov"]:
            return buffers
        return torch._foreach_add(gradients, buffers, alpha=group["momentum"])


def _orthogonalize(parameters: Tensors, directions: Tensors, group: dict[str, Any]) -> Tensors:
    """Return each direction after ``newton_schulz``, in its parameter's shape and layout."""
    batches: dict[tuple[int, ...], list[int]] = defaultdict(list)
    matrices = []
    for index, (p, direction) in enumerate(zip(parameters, directions, strict=True)):
        matrices.append(direction.permute(_memory_order(p)).flatten(1))
        batches[tuple(matrices[-1].shape)].append(index)
    updates = list(directions)
    for indices in batches.values():
        batch = torch.stack([matrices[i] for i in indices])
        batch = newton_schulz(batch, group["ns_steps"], group["dtype"])
        for i, update in zip(indices, batch.unbind(), strict=True):
            order = _memory_order(parameters[i])
            shape = [parameters[i].shape[d] for d in order]
            updates[i] = update.reshape(shape).permute([order.index(d) for d in range(len(order))])
    return updates


def _scale_and_decay(parameters: list[Tensor], group: dict[str, Any]) -> None:
    """Normalise the matrices if the group says so, and apply weight decay, in place."""
    decay_factor = 1 - group["lr"] * group["weight_decay"]
    if group["normalize_weights"]:
        scales = torch._foreach_norm(parameters)
        torch._foreach_clamp_min_(scales, _MIN_NORM)
        torch._foreach_reciprocal_(scales)
        torch._foreach_mul_(scales, [decay_factor * len(p) ** 0.5 for p in parameters])
        torch._foreach_mul_(parameters, scales)
    elif decay_factor != 1:
        torch._foreach_mul_(parameters, decay_factor)


def _memory_order(p: Tensor) -> list[int]:
    """Return the dimensions of a parameter: its rows, then the others as they lie in memory."""
    return [0, *sorted(range(1, p.ndim), key=p.stride, reverse=True)]


def newton_schulz(matrices: Tensor, steps: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return U S' V^T (B, R, C) for matrices U S V^T, with S' near 1; zero gives zero.

    Each iteration applies an odd quintic polynomial to the singular values, after they were scaled
    to at most 1. Three iterations bring values between 0.02 and 1 into 0.68..1.20.

    Args:
        matrices: (B, R, C)
        steps: number of iterations
        dtype: in which they are computed; None: in that of the matrices, as is the result
    """
    a, b, c = COEFFICIENTS
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    x = (matrices / (norms + EPS)).to(dtype or matrices.dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
