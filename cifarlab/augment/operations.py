# ruff: noqa: ARG001  # all operations share one signature, whether or not they need all of it
"""The fourteen operations of RandAugment and TrivialAugment, on batches of uint8 images.

Cubuk et al. 2019 (AutoAugment), appendix A, names them and their ranges; Müller & Hutter 2021 widen
these. Pixel for pixel they are Pillow's ImageOps and ImageEnhance. Departures: rotation and shears
are about the image's centre and bilinear, what they move in is the recipe's ``augment.fill_mode``,
and translations are by whole pixels, as a fraction of the side.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from cifarlab.augment.transforms import affine_matrices, translate, warp_affine
from cifarlab.system.transfer import to_device


class Operation(NamedTuple):
    """An operation, and its largest strength for RandAugment and, wider, for TrivialAugment.

    ``apply`` takes uint8 images (N, H, W, C) in 0..255, strengths float32 (N,) and the fill mode,
    and returns such images. ``is_signed``: a strength is negative half of the time. Strength 0
    changes nothing, but autocontrast and equalize have no strength.
    """

    name: str
    apply: Callable[[Tensor, Tensor, str], Tensor]
    max_strength: float
    wide_max_strength: float
    is_signed: bool


def identity(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Return the images as they are.

    Args:
        images: uint8 (N, H, W, C)
        strengths: float32 (N,)
        fill_mode: what is moved in from outside of the image; not used
    """
    return images


def rotate(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Turn each image about its centre, counter-clockwise.

    Args:
        images: uint8 (N, H, W, C)
        strengths: in degrees, float32 (N,)
        fill_mode: what is moved in from outside of the image
    """
    no_offsets = strengths.new_zeros(len(strengths), 2)
    matrices = affine_matrices(strengths, torch.ones_like(strengths), no_offsets)
    return to_uint8(warp_affine(images, matrices, fill_mode))


def shear(images: Tensor, strengths: Tensor, fill_mode: str, axis: int) -> Tensor:
    """Shift each row or column by its distance from the centre, times the strength.

    Args:
        images: uint8 (N, H, W, C)
        strengths: float32 (N,)
        fill_mode: what is moved in from outside of the image
        axis: 1: rows are shifted; 0: columns
    """
    matrices = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    matrices[:, axis, 1 - axis] = strengths
    return to_uint8(warp_affine(images, matrices, fill_mode))


def shift(images: Tensor, strengths: Tensor, fill_mode: str, axis: int) -> Tensor:
    """Shift each image by a fraction of its side, rounded to whole pixels.

    Args:
        images: uint8 (N, H, W, C)
        strengths: float32 (N,)
        fill_mode: what is moved in from outside of the image
        axis: 1: to the right; 0: down
    """
    offsets = torch.zeros(len(images), 2, dtype=torch.int64, device=images.device)
    offsets[:, axis] = (strengths * images.shape[1 + axis]).round().to(torch.int64)
    return translate(images, offsets, fill_mode)


def adjust_brightness(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Blend each image with black, by a factor of 1 + strength.

    Args:
        images: uint8 (N, H, W, C)
        strengths: float32 (N,)
        fill_mode: what is moved in from outside of the image; not used
    """
    return blend(torch.zeros_like(images), images, 1 + strengths)


def adjust_color(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Blend each pixel with its grey, by a factor of 1 + strength; a grey image stays.

    Args:
        images: uint8 (N, H, W, C)
        strengths: float32 (N,)
        fill_mode: what is moved in from outside of the image; not used
    """
    return blend(to_grey(images), images, 1 + strengths)


def adjust_contrast(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Blend each image with its mean grey, rounded half up, by a factor of 1 + strength.

    Args:
        images: uint8 (N, H, W, C)
        strengths: float32 (N,)
        fill_mode: what is moved in from outside of the image; not used
    """
    pixels = images.shape[1] * images.shape[2]
    sums = to_grey(images).sum((1, 2, 3), keepdim=True, dtype=torch.int64)
    return blend((2 * sums + pixels) // (2 * pixels), images, 1 + strengths)


def adjust_sharpness(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Blend each image with its smoothed copy, by a factor of 1 + strength; the border stays.

    The filter is 3 x 3: the pixel itself weighs 5, each neighbour 1.

    Args:
        images: uint8 (N, H, W, C)
        strengths: float32 (N,)
        fill_mode: what is moved in from outside of the image; not used
    """
    pixels32 = images.to(torch.int32)
    rows = pixels32[:, :-2] + pixels32[:, 1:-1] + pixels32[:, 2:]
    sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * pixels32[:, 1:-1, 1:-1]
    smoothed = pixels32.clone()
    smoothed[:, 1:-1, 1:-1] = (2 * sums + 13) // 26
    return blend(smoothed, images, 1 + strengths)


def posterize(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Clear the lowest bits of each value.

    Args:
        images: uint8 (N, H, W, C)
        strengths: the number of bits, which is rounded, float32 (N,)
        fill_mode: what is moved in from outside of the image; not used
    """
    mask = 256 - 2 ** strengths.round().to(torch.int32)
    return images & mask.to(torch.uint8)[:, None, None, None]


def solarize(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Invert the values from 256 - strength on.

    Args:
        images: uint8 (N, H, W, C)
        strengths: float32 (N,)
        fill_mode: what is moved in from outside of the image; not used
    """
    inverted = images >= (256 - strengths)[:, None, None, None]
    return torch.where(inverted, 255 - images, images)


def autocontrast(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Stretch each channel of an image to 0..255, rounded down; one of a single value stays.

    Args:
        images: uint8 (N, H, W, C)
        strengths: not used
        fill_mode: what is moved in from outside of the image; not used
    """
    pixels32 = images.to(torch.int32)
    low, high = pixels32.amin((1, 2), keepdim=True), pixels32.amax((1, 2), keepdim=True)
    stretched = (pixels32 - low) * 255 // (high - low).clamp(min=1)
    return torch.where(high == low, images, stretched.to(torch.uint8))


def equalize(images: Tensor, strengths: Tensor, fill_mode: str) -> Tensor:
    """Make each channel's histogram about flat; a channel with too few values stays.

    Args:
        images: uint8 (N, H, W, C)
        strengths: not used
        fill_mode: what is moved in from outside of the image; not used
    """
    count, height, width, channels = images.shape
    values = images.permute(0, 3, 1, 2).reshape(count * channels, -1).to(torch.int64)
    histogram = torch.zeros(len(values), 256, dtype=torch.int64, device=images.device)
    histogram.scatter_add_(1, values, torch.ones_like(values))
    last = histogram.gather(1, values.amax(1, keepdim=True))
    steps = (height * width - last) // 255
    before = histogram.cumsum(1) - histogram
    table = ((before + steps // 2) // steps.clamp(min=1)).clamp(max=255)
    equalized = torch.where(steps == 0, values, table.gather(1, values)).to(torch.uint8)
    return equalized.view(count, channels, height, width).permute(0, 2, 3, 1).contiguous()


def blend(start: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    """Return start + factor * (image - start), clipped to 0..255 and rounded down: uint8.

    Args:
        start: broadcast to the images' shape
        images: (N, H, W, C)
        factors: float32 (N,)
    """
    start, pixels = start.to(torch.float32), images.to(torch.float32)
    blended = start + factors[:, None, None, None] * (pixels - start)
    return blended.clamp(0, 255).to(torch.uint8)


def to_grey(images: Tensor) -> Tensor:
    """Return each pixel's grey, uint8 (N, H, W, 1), rounded as in Pillow."""
    if images.shape[3] == 1:
        return images
    red, green, blue = images.to(torch.int32).split(1, 3)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)


def to_uint8(images: Tensor) -> Tensor:
    """Round and clip to uint8."""
    if images.dtype == torch.uint8:
        return images
    return images.round().clamp(0, 255).to(torch.uint8)


OPERATIONS = (
    Operation("identity", identity, 0, 0, False),
    Operation("shear x", partial(shear, axis=1), 0.3, 0.99, True),
    Operation("shear y", partial(shear, axis=0), 0.3, 0.99, True),
    Operation("translate x", partial(shift, axis=1), 150 / 331, 1, True),
    Operation("translate y", partial(shift, axis=0), 150 / 331, 1, True),
    Operation("rotate", rotate, 30, 135, True),
    Operation("brightness", adjust_brightness, 0.9, 0.99, True),
    Operation("color", adjust_color, 0.9, 0.99, True),
    Operation("contrast", adjust_contrast, 0.9, 0.99, True),
    Operation("sharpness", adjust_sharpness, 0.9, 0.99, True),
    Operation("posterize", posterize, 4, 6, False),
    Operation("solarize", solarize, 256, 256, False),
    Operation("autocontrast", autocontrast, 0, 0, False),
    Operation("equalize", equalize, 0, 0, False),
)


def apply_operations(
    images: Tensor,
    op_indices: Tensor,
    strengths: Tensor,
    fill_mode: str,
    operations: Sequence[Operation] = OPERATIONS,
) -> Tensor:
    """Apply to each image its own operation.

    Args:
        images: uint8 (N, H, W, C)
        op_indices: of the image's operation in ``operations``, int64 (N,) on the CPU
        strengths: float32 (N,) on the CPU
        fill_mode: what is moved in from outside of the image
        operations: the operations
    """
    order = op_indices.argsort(stable=True)
    sizes = op_indices.bincount(minlength=len(operations)).tolist()
    positions = to_device(order, images.device)
    sorted_strengths = to_device(strengths[order], images.device)
    groups = zip(
        operations, images[positions].split(sizes), sorted_strengths.split(sizes), strict=True
    )
    outputs = [op.apply(group, values, fill_mode) for op, group, values in groups if len(group)]
    out = torch.empty_like(images)
    out[positions] = torch.cat(outputs)
    return out
