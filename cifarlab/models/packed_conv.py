"""3x3 convolutions of small maps with several images in one row, for processors with AMX.

oneDNN's bfloat16 kernels work along the rows of a map. Rows of 3 to 8 pixels leave most of an AMX
tile empty: on an Intel processor with AMX (two cores, oneDNN 3.12), where a matrix product
gives 2,200 GFLOP/s, weight gradients of 8x8 and smaller maps ran at 219 to 850. With 4 or 8 images
in one row, a zero column between them, they ran at 767 to 1,465, the copies included. Without
AMX packing made that processor no faster, mostly slower.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cifarlab.system.device import packs_convolutions

_LARGEST_MAP = 8  # pixels a side; rows of larger maps fill the tiles well enough
_LARGEST_MAP_FORWARD = 4  # the forward pass gains only on the smallest maps
_FEWEST_CHANNELS = 64  # of input and output; below, the copies cost more than they gain
_IN_A_ROW, _IN_A_ROW_SMALL = 4, 8  # images, of maps of up to 8 and of up to 4 pixels


class PackedConv2d(nn.Conv2d):
    """nn.Conv2d that packs several images into a row where that is faster (``should_pack``)."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        is_packable = self.dilation == (1, 1) and self.groups == 1 and self.padding_mode == "zeros"
        if is_packable and should_pack(x, weight, self.stride, self.padding):
            return packed_conv2d(x, weight, bias)
        return super()._conv_forward(x, weight, bias)


def should_pack(
    x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: str | tuple[int, ...]
) -> bool:
    """Return whether packing makes this convolution faster.

    Device, arithmetic and shapes decide, so that a run's bits depend on no timing.

    Args:
        x: the input (N, C_in, H, W)
        weight: the filters (C, C_in, k, k)
        stride: by height and width
        padding: by height and width
    """
    return (
        x.device.type == "cpu"
        and _compute_dtype(x) is torch.bfloat16
        and weight.shape[2:] == (3, 3)
        and stride == padding == (1, 1)
        and max(x.shape[2:]) <= _LARGEST_MAP
        and min(weight.shape[:2]) >= _FEWEST_CHANNELS
        and not torch.compiler.is_compiling()
        and packs_convolutions()
    )


def packed_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the 3x3 convolution of stride 1 and padding 1: (N, C, H, W).

    Args:
        x: the input (N, C_in, H, W)
        weight: the filters (C, C_in, 3, 3)
        bias: (C,), or None
    """
    dtype = _compute_dtype(x)
    y: Tensor = _PackedConvolution.apply(x.to(dtype), weight.to(dtype))  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias.to(dtype)[:, None, None]


def _compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type that a convolution of x computes in."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class _PackedConvolution(torch.autograd.Function):
    """oneDNN's own convolution and gradients, of packed rows where these are faster."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        if not _packs_forward(x):
            return functional.conv2d(x, weight, padding=1)
        rows = functional.conv2d(pack_images(x, _IN_A_ROW_SMALL), weight, padding=1)
        return unpack_images(rows, x.shape, _IN_A_ROW_SMALL)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        grad = grad.contiguous(memory_format=torch.channels_last)
        if _packs_forward(x):
            n = _IN_A_ROW_SMALL
            packed = pack_images(grad, n), pack_images(x, n)
            rows, grad_weight = _gradients(*packed, weight, needs_x, needs_weight)
            return None if rows is None else unpack_images(rows, x.shape, n), grad_weight
        grad_x = grad_weight = None
        if needs_x:
            grad_x, _ = _gradients(grad, x, weight, True, False)
        if needs_weight:
            packed = pack_images(grad, _IN_A_ROW), pack_images(x, _IN_A_ROW)
            _, grad_weight = _gradients(*packed, weight, False, True)
        return grad_x, grad_weight


def _packs_forward(x: Tensor) -> bool:
    return max(x.shape[2:]) <= _LARGEST_MAP_FORWARD


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, needs_x: bool, needs_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    ones, zeros, output_mask = [1, 1], [0, 0], [needs_x, needs_weight, False]
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, ones, ones, ones, False, zeros, 1, output_mask
    )
    return grad_x, grad_weight


def pack_images(images: Tensor, in_a_row: int) -> Tensor:
    """Return images (N, C, H, W) as ceil(N / in_a_row) maps (C, H, in_a_row * (W + 1)).

    Each image is followed by a zero column, which pads it and its neighbour; the last map is filled
    up with zeros.
    """
    n, c, h, w = images.shape
    full, rest = divmod(n, in_a_row)
    rows = images.new_zeros(full + bool(rest), h, in_a_row, w + 1, c)
    pixels = images.permute(0, 2, 3, 1)
    slots = rows[:full, :, :, :w].transpose(1, 2)
    slots.copy_(pixels[: n - rest].reshape(full, in_a_row, h, w, c))
    if rest:
        rows[full, :, :rest, :w].transpose(0, 1).copy_(pixels[n - rest :])
    return rows.flatten(2, 3).permute(0, 3, 1, 2)


def unpack_images(rows: Tensor, shape: tuple[int, ...], in_a_row: int) -> Tensor:
    """Return the images (N, C, H, W) of packed maps.

    Args:
        rows: what ``pack_images`` returned, or a convolution of it
        shape: (N, C, H, W) of the images; C is not used
        in_a_row: images per map
    """
    n, w = shape[0], shape[-1]
    pixels = rows.permute(0, 2, 3, 1).unflatten(2, (in_a_row, w + 1))[:, :, :, :w]
    return pixels.transpose(1, 2).flatten(0, 1)[:n].permute(0, 3, 1, 2)
