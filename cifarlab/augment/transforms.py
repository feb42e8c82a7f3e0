"""Where the pixels of a batch of images (N, H, W, C) go, on its device.

Pure functions of the images and of draws made beforehand: nothing here draws, and nothing changes
what it is given.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from cifarlab.system.transfer import to_device

GREY = 127
_CHUNK = 250  # images shrunk at a time: their float32 copy stays in a processor's cache


def crop(images: Tensor, offsets: Tensor, padding: int, padding_mode: str) -> Tensor:
    """Cut (H, W) windows out of the images padded by ``padding`` on each side.

    ``offsets`` int64 (N, 2): top and left of each window in the padded image, 0..2 * padding.
    ``padding_mode`` is ``constant`` or ``reflect`` (without repeating the edge, so padding < H and
    W).
    """
    return translate(images, padding - offsets, padding_mode)


def translate(images: Tensor, offsets: Tensor, fill_mode: str) -> Tensor:
    """Move each image by whole pixels, ``offsets`` int64 (N, 2): down and right.

    What is moved in is black (``constant``), the edge's pixel (``nearest``) or the mirrored image
    (``reflect``, without repeating the edge, as often as needed). The type stays as it is.
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
    moved = images[sample, rows[:, :, None], columns[:, None, :]]
    return moved * in_image[..., None] if fill_mode == "constant" else moved


def warp_affine(images: Tensor, matrices: Tensor, fill_mode: str) -> Tensor:
    """Bilinear values at other positions: float32, of uint8 or float in 0..255.

    ``matrices`` float32 (N, 2, 3): the position (row, column) that a new pixel (row, column) is
    read at is matrices @ (row, column, 1), in pixels from the image's centre. A position beyond the
    centres of the edge's pixels is read at the nearest of these, or (``reflect``) at its mirror
    image, without repeating the edge; with ``constant`` the new pixel is black where the position
    is out of the image.
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


def affine_matrices(angles: Tensor, zooms: Tensor, offsets: Tensor) -> Tensor:
    """Return matrices (N, 2, 3) for ``warp_affine``: scale, turn about the centre, then move.

    ``angles`` (N,) in degrees, counter-clockwise; ``zooms`` (N,) above 0, 2 for twice the size;
    ``offsets`` (N, 2) in pixels, down and right.
    """
    cosines, sines = angles.deg2rad().cos() / zooms, angles.deg2rad().sin() / zooms
    turns = torch.stack([torch.stack([cosines, sines], 1), torch.stack([-sines, cosines], 1)], 1)
    return torch.cat([turns, -(turns @ offsets.to(turns)[..., None])], 2)


def flip(images: Tensor, mask: Tensor, axis: int = 2) -> Tensor:
    """Flip left-right, or with ``axis`` 1 top-bottom, the images that ``mask`` (N,) picks."""
    return torch.where(mask[:, None, None, None], images.flip(axis), images)


def cutout(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Grey out a square of ``side`` pixels in each image (DeVries & Taylor 2017).

    ``corners`` int64 (N, 2): its top and left, which may lie outside of the image: the square is
    then cut by the border. uint8 or float in 0..255, and so is the outcome.
    """
    covered = [
        _in_range(torch.arange(size, device=images.device) - corners[:, i, None], side)
        for i, size in enumerate(images.shape[1:3])
    ]
    square = covered[0][:, :, None] & covered[1][:, None, :]
    return torch.where(square[..., None], images.new_full((), GREY), images)


def downsample(images: Tensor, pixels: int) -> Tensor:
    """Scale images so that the short side has ``pixels``, the long one its part, half up: float32.

    Antialiased bilinear, of uint8 or float in 0..255: (N, H, W, C) -> (N, pixels, pixels, C) of
    square images. What is no larger is returned as it is, in its own type: nothing is enlarged.
    Small images first: Howard 2018 (fast.ai on DAWNBench); Tan & Le 2021 (EfficientNetV2).
    """
    height, width, channels = images.shape[1:]
    short = min(height, width)
    if short <= pixels:
        return images
    new_height, new_width = ((2 * n * pixels + short) // (2 * short) for n in (height, width))
    rows = _resize_weights(height, new_height, 1, images.device)
    columns = _resize_weights(width, new_width, channels, images.device)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has 8 bits: steps of 1
        return torch.cat([apply_weights(chunk, rows, columns) for chunk in images.split(_CHUNK)])


def apply_weights(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, H, W, C) by the rows' weights (h, H) and the columns' (w * C, W * C): (N, h, w, C).

    Channels stay apart in one large product, which is faster than many small ones.
    """
    count, height, _, channels = images.shape
    narrow = torch.matmul(rows, images.to(rows.dtype).reshape(count, height, -1))
    return (narrow.flatten(0, 1) @ columns.T).view(count, len(rows), -1, channels)


@lru_cache(maxsize=64)
def _resize_weights(size: int, new_size: int, channels: int, device: torch.device) -> Tensor:
    """Weights (new_size * channels, size * channels) of a row of pixels, whose channels stay apart.

    A triangle of half-width size / new_size pixels about each new pixel's centre, cut off at the
    image's border, of sum 1.
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
