"""Move the pixels of a batch of images (N, H, W, C) on its device.

Pure functions of the images and of random draws that the caller made; no argument is changed.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from cifarlab.system.transfer import to_device

GREY = 127
_CHUNK = 250  # images downsampled at a time: their float32 copy fits a processor's cache


def crop(images: Tensor, offsets: Tensor, padding: int, padding_mode: str) -> Tensor:
    """Cut (H, W) windows out of the padded images.

    Args:
        images: (N, H, W, C), uint8 or float in 0..255
        offsets: top and left of each window in the padded image, 0..2 * padding: int64 (N, 2)
        padding: in pixels, on each side
        padding_mode: ``constant``, or ``reflect`` without repeating the edge (padding < H and W)
    """
    return translate(images, padding - offsets, padding_mode)


def translate(images: Tensor, offsets: Tensor, fill_mode: str) -> Tensor:
    """Move each image by whole pixels; the type stays.

    Args:
        images: (N, H, W, C), uint8 or float in 0..255
        offsets: down and right, in pixels: int64 (N, 2)
        fill_mode: what is moved in: black (``constant``), the edge's pixel (``nearest``) or the
            mirrored image (``reflect``, without repeating the edge, as often as needed)
    """
    height, width = images.shape[1:3]
    rows = torch.arange(height, device=images.device) - offsets[:, :1]
    columns = torch.arange(width, device=images.device) - offsets[:, 1:]
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    if fill_mode == "reflect":
        rows, columns = _reflect_index(rows, height), _reflect_index(columns, width)
        return images[sample, rows[:, :, None], columns[:, None, :]]
    in_image = _in_range(rows, height)[:, :, None] & _in_range(columns, width)[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    translated = images[sample, rows[:, :, None], columns[:, None, :]]
    return translated * in_image[..., None] if fill_mode == "constant" else translated


def warp_affine(images: Tensor, matrices: Tensor, fill_mode: str) -> Tensor:
    """Resample each image by an affine map, bilinear: float32 (N, H, W, C).

    Args:
        images: (N, H, W, C), uint8 or float in 0..255
        matrices: float32 (N, 2, 3): a new pixel (row, column) is read at the position
            matrices @ (row, column, 1), both in pixels from the image's centre
        fill_mode: what is read beyond the centres of the edge's pixels: the nearest of these
            (``nearest``), the mirrored image, without repeating the edge (``reflect``), or, outside
            of the image, black (``constant``)
    """
    height, width = images.shape[1:3]
    rows, columns = (
        torch.arange(size, device=images.device) - (size - 1) / 2 for size in (height, width)
    )
    by_row, by_column, constant = matrices[..., None, None].unbind(2)
    positions = by_row * rows[:, None] + by_column * columns + constant  # (N, 2, H, W)
    sides = torch.stack([matrices.new_full((), side) for side in (height, width)])[:, None, None]
    grid = positions * 2 / (sides - 1).clamp(min=1)
    sampled = grid_sample(
        images.to(torch.float32).permute(0, 3, 1, 2),
        grid.flip(1).permute(0, 2, 3, 1),
        padding_mode="reflection" if fill_mode == "reflect" else "border",
        align_corners=True,
    )
    if fill_mode == "constant":
        sampled = sampled * ((positions >= -sides / 2) & (positions < sides / 2)).all(
            1, keepdim=True
        )
    return sampled.permute(0, 2, 3, 1).contiguous()


def affine_matrices(angles: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    """Return matrices (N, 2, 3) for ``warp_affine``: scale, turn about the centre, then move.

    Args:
        angles: in degrees, counter-clockwise: (N,)
        scales: above 0, 2 for twice the size: (N,)
        offsets: in pixels, down and right: (N, 2)
    """
    cosines, sines = angles.deg2rad().cos() / scales, angles.deg2rad().sin() / scales
    turns = torch.stack([torch.stack([cosines, sines], 1), torch.stack([-sines, cosines], 1)], 1)
    return torch.cat([turns, -(turns @ offsets.to(turns)[..., None])], 2)


def flip(images: Tensor, mask: Tensor, axis: int = 2) -> Tensor:
    """Flip some of the images.

    Args:
        images: (N, H, W, C)
        mask: which images are flipped, bool (N,)
        axis: 2: left-right; 1: top-bottom
    """
    return torch.where(mask[:, None, None, None], images.flip(axis), images)


def cutout(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Grey out a square in each image (DeVries & Taylor 2017); the type stays.

    Args:
        images: (N, H, W, C), uint8 or float in 0..255
        corners: top and left of the square, int64 (N, 2); outside of the image, the border cuts it
        side: the square's side in pixels
    """
    covered = [
        _in_range(torch.arange(size, device=images.device) - corners[:, i, None], side)
        for i, size in enumerate(images.shape[1:3])
    ]
    square = covered[0][:, :, None] & covered[1][:, None, :]
    return torch.where(square[..., None], images.new_full((), GREY), images)


def downsample(images: Tensor, pixels: int) -> Tensor:
    """Downsample images (N, H, W, C), uint8 or float, to a short side of ``pixels``: float32.

    Antialiased bilinear; the long side keeps the ratio, rounded half up. Images that are no larger
    are returned as they are, in their own type. Small images first: Howard 2018 (fast.ai on
    DAWNBench); Tan & Le 2021 (EfficientNetV2).
    """
    height, width, channels = images.shape[1:]
    side = min(height, width)
    if side <= pixels:
        return images
    new_height, new_width = ((2 * n * pixels + side) // (2 * side) for n in (height, width))
    rows = _resize_weights(height, new_height, 1, images.device)
    columns = _resize_weights(width, new_width, channels, images.device)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has 8 bits: steps of 1
        return torch.cat([apply_weights(chunk, rows, columns) for chunk in images.split(_CHUNK)])


def apply_weights(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return weighted sums of rows and columns of pixels: (N, h, w, C).

    One large product with separate channels is faster than many small ones.

    Args:
        images: (N, H, W, C)
        rows: weights of the rows, (h, H)
        columns: weights of the columns and channels, (w * C, W * C)
    """
    count, height, _, channels = images.shape
    rows_resized = torch.matmul(rows, images.to(rows.dtype).reshape(count, height, -1))
    return (rows_resized.flatten(0, 1) @ columns.T).view(count, len(rows), -1, channels)


@lru_cache(maxsize=64)
def _resize_weights(size: int, new_size: int, channels: int, device: torch.device) -> Tensor:
    """Return weights (new_size * channels, size * channels) of a row of pixels and channels.

    Each new pixel's weights are a triangle of half-width size / new_size pixels about its centre,
    cut off at the image's border, of sum 1; channels don't mix.
    """
    scale = size / new_size
    centres = (torch.arange(new_size, dtype=torch.float64) + 0.5) * scale
    distances = (torch.arange(size, dtype=torch.float64) + 0.5) - centres[:, None]
    weights = (1 - distances.abs() / scale).clamp(min=0)
    weights = (weights / weights.sum(1, keepdim=True)).to(torch.float32)
    return to_device(torch.kron(weights, torch.eye(channels)), device)


def _reflect_index(index: Tensor, size: int) -> Tensor:
    period = max(1, 2 * (size - 1))
    return torch.minimum(index % period, -index % period)


def _in_range(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)
