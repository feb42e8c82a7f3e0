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

# of the forward pass that runs: its first image's index in the global batch, and that batch's size
_position: ContextVar[tuple[int, int]] = ContextVar("position")


class DistributedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, with the tensors of ``layer``."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, processes: Processes) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        self.processes = processes
        self.weight, self.bias = layer.weight, layer.bias
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (N, C, ...), where N counts this process's images."""
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
        """Accept maps and vectors."""


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
        """Return the gradient for constant mean and variance, plus that through both of them."""
        x, weight, mean, variance, count = ctx.saved_tensors
        output_mask = [ctx.needs_input_grad[0], True, True]
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, output_mask
        )
        if ctx.needs_input_grad[0]:
            # over all images: grad * normalised, and grad
            grad_sums = torch.stack((grad_weight, grad_bias))
            weight_sum, bias_sum = ctx.processes.all_reduce(grad_sums)
            scale = (variance + ctx.eps).rsqrt()
            slope = -weight * scale / count * weight_sum * scale
            offset = -weight * scale / count * bias_sum - slope * mean
            columns = (-1, *(1,) * (x.ndim - 2))
            grad_x = grad_x + (x * slope.view(columns) + offset.view(columns)).to(grad_x.dtype)
        return grad_x, grad_weight, grad_bias, None, None


def global_statistics(
    x: Tensor, template: Tensor, processes: Processes
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), biased variance (C,) and number () of each channel's values.

    The processes' variances are combined as in Chan et al. 1983 (equation 2.1), without loss of
    digits.

    Args:
        x: this process's values (N, C, ...)
        template: a tensor (C,) of the type that the statistics have
        processes: those whose values count
    """
    # the zeros are running statistics that nobody reads; they decide the type of the result
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

    ``batch_position``, around the forward pass, says which of them this process has.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x (N, ...) with the entries of the mask set to zero and the others scaled."""
        if not self.training:
            return x
        start, global_size = _position.get()
        # random numbers are drawn in the order of memory, so the mask has the layout of x
        channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        ones = torch.empty(
            global_size, *x.shape[1:], dtype=x.dtype, device=x.device, memory_format=layout
        )
        mask = functional.dropout(ones.fill_(1), self.p)
        return x * mask[start : start + len(x)]


def distribute_layers(network: nn.Module, processes: Processes) -> None:
    """Replace batch normalisation and dropout in place, if there are several processes.

    Subclasses of these layers may do more, and stay as they are: they see only the images of their
    own process.
    """
    if processes.world_size == 1:
        return
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if (type(layer) is nn.BatchNorm1d or type(layer) is nn.BatchNorm2d) and layer.affine:
                setattr(parent, name, DistributedBatchNorm(layer, processes))
            elif type(layer) is nn.Dropout:
                setattr(parent, name, DistributedDropout(layer.p))


@contextmanager
def batch_position(start: int, global_size: int) -> Iterator[None]:
    """Declare the images of a forward pass: those from index ``start`` on, of ``global_size``."""
    token = _position.set((start, global_size))
    try:
        yield
    finally:
        _position.reset(token)
