"""Layers that compute as in one process while a batch's images are spread over several.

Batch normalisation takes its statistics from all of them (nn.SyncBatchNorm does it on GPUs alone),
dropout has one mask for all, of which each process takes its rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cifarlab.system.processes import Processes

# of the images of the forward pass at hand: the index of the first in their batch, and its size
_position: ContextVar[tuple[int, int]] = ContextVar("position")


class DistributedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes; the tensors are those of ``plain``."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, plain: nn.BatchNorm1d | nn.BatchNorm2d, processes: Processes) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum)
        self.processes = processes
        self.weight, self.bias = plain.weight, plain.bias
        for name, buffer in plain.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...), and the same out; N are this process's images."""
        if not self.training:
            return super().forward(x)
        y, mean, variance, count = _DistributedBatchNormFunction.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps, self.processes
        )
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        out: Tensor = y
        return out

    def _check_input_dim(self, x: Tensor) -> None:
        """Maps and vectors alike."""


class _DistributedBatchNormFunction(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias; also mean, variance and their count."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, processes: Processes
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, variance, count = global_statistics(x, weight, processes)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.processes = eps, processes
        ctx.mark_non_differentiable(mean, variance, count)
        y = functional.batch_norm(x, mean, variance, weight, bias, eps=eps)
        return y, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """As if mean and variance were constants, and then what they owe to each x."""
        x, weight, mean, variance, count = ctx.saved_tensors
        output_mask = [ctx.needs_input_grad[0], True, True]
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, output_mask
        )
        if ctx.needs_input_grad[0]:
            # sums over all images of grad * normalised, and of grad
            along, total = ctx.processes.all_reduce(torch.stack((grad_weight, grad_bias)))
            scale = (variance + ctx.eps).rsqrt()
            slope = -weight * scale / count * along * scale
            offset = -weight * scale / count * total - slope * mean
            columns = (-1, *(1,) * (x.ndim - 2))
            grad_x = grad_x + (x * slope.view(columns) + offset.view(columns)).to(grad_x.dtype)
        return grad_x, grad_weight, grad_bias, None, None


def global_statistics(
    x: Tensor, template: Tensor, processes: Processes
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel (C,) over all processes' x (N, C, ...).

    And how many values of a channel they are of, (). In the type of ``template`` (C,). The
    processes' variances are joined as in Chan et al. 1983 (equation 2.1), which loses no digits.
    """
    # the running statistics that this would update are not needed, but say the type
    local_statistics = torch.batch_norm_update_stats(
        x, torch.zeros_like(template), torch.zeros_like(template), 0.0
    )
    values = local_statistics[0].new_full((1,), x.numel() // x.shape[1])
    table = values.new_zeros(processes.world_size, 2 * x.shape[1] + 1)
    table[processes.rank] = torch.cat((*local_statistics, values))
    means, variances, counts = processes.all_reduce(table).split((x.shape[1], x.shape[1], 1), 1)
    count = counts.sum()
    weights = counts / count
    mean = (weights * means).sum(0)
    return mean, (weights * (variances + (means - mean).square())).sum(0), count


class DistributedDropout(nn.Dropout):
    """Dropout with the mask that one process would draw for all ``global_size`` images.

    Which images of them are here says the ``batch_position`` that the forward pass is in.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...), and the same out."""
        if not self.training:
            return x
        start, global_size = _position.get()
        # drawn in the order of memory, so the mask is laid out as x is
        channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        ones = torch.empty(
            global_size, *x.shape[1:], dtype=x.dtype, device=x.device, memory_format=layout
        )
        mask = functional.dropout(ones.fill_(1), self.p)
        return x * mask[start : start + len(x)]


def distribute_layers(network: nn.Module, processes: Processes) -> None:
    """Replace layers that mix images or draw for each, in place; nothing for a single process.

    Layers that only derive from these may do more, and stay as they are: they see the images of
    their own process alone.
    """
    if processes.world_size == 1:
        return
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            derived = type(layer) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout)
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine and not derived:
                setattr(parent, name, DistributedBatchNorm(layer, processes))
            elif isinstance(layer, nn.Dropout) and not derived:
                setattr(parent, name, DistributedDropout(layer.p))


@contextmanager
def batch_position(start: int, global_size: int) -> Iterator[None]:
    """Say for the block that its images are those from index ``start`` on of ``global_size``."""
    token = _position.set((start, global_size))
    try:
        yield
    finally:
        _position.reset(token)
