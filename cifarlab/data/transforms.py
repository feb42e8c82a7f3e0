"""What can be done to a batch of images (N, H, W, C) on its device.

Pure functions of the images and of draws made beforehand: nothing here draws, and nothing changes
what it is given.
"""

from functools import lru_cache

import torch
from torch import Tensor

GREY = 127
_PIECE = 250  # images shrunk at a time: their float32 copy stays in a processor's cache


def crop(images: Tensor, offsets: Tensor, padding: int, mode: str) -> Tensor:
    """Cut (H, W) windows out of the images padded by ``padding`` on each side.

    ``offsets`` int64 (N, 2): top and left of each window in the padded image, 0..2 * padding.
    ``mode`` is ``zero`` or ``reflect`` (without repeating the edge, so padding < H and W).
    """
    count, height, width, _ = images.shape
    rows = offsets[:, :1] + torch.arange(-padding, height - padding, device=images.device)
    columns = offsets[:, 1:] + torch.arange(-padding, width - padding, device=images.device)
    sample = torch.arange(count, device=images.device)[:, None, None]
    if mode == "reflect":
        rows, columns = _reflected(rows, height), _reflected(columns, width)
        return images[sample, rows[:, :, None], columns[:, None, :]]
    inside = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return images[sample, rows[:, :, None], columns[:, None, :]] * inside[..., None]


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Flip left-right the images that ``chosen`` (N,), bool, picks."""
    return torch.where(chosen[:, None, None, None], images.flip(2), images)


def jitter(images: Tensor, shifts: Tensor, factors: Tensor) -> Tensor:
    """Change brightness and contrast of each image: float32, of uint8 or float in 0..255.

    m + (x - m) * factor + 255 * shift, where m is the image's own mean over all pixels and
    channels; ``shifts`` and ``factors`` are float (N,). The outcome may leave 0..255: nothing is
    clipped. The idea is from hiverge/cifar10-speedrun, the formula is ours.
    """
    pixels = images.to(torch.float32)
    constant = pixels.mean((1, 2, 3)) * (1 - factors) + 255 * shifts
    return pixels * factors[:, None, None, None] + constant[:, None, None, None]


def cutout(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Grey out a square of ``side`` pixels in each image (DeVries & Taylor 2017).

    ``corners`` int64 (N, 2): its top and left, 0..H - side and 0..W - side. Unlike in the paper the
    square always lies wholly inside the image. uint8 or float in 0..255, and so is the outcome.
    """
    reach = torch.arange(side, device=images.device)
    rows, columns = corners[:, :1] + reach, corners[:, 1:] + reach
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    greyed = images.clone()
    greyed[sample, rows[:, :, None], columns[:, None, :]] = images.new_full((), GREY)
    return greyed


def shrunk(images: Tensor, pixels: int) -> Tensor:
    """Scale images so that their short side has ``pixels``, the long one in proportion: float32.

    Antialiased bilinear, of uint8 or float in 0..255: (N, H, W, C) -> (N, pixels, pixels, C) of
    square images. What is no larger is returned as it is, in its own type: nothing is enlarged.
    Small images first: Howard 2018 (fast.ai on DAWNBench); Tan & Le 2021 (EfficientNetV2).
    """
    height, width, channels = images.shape[1:]
    short = min(height, width)
    if short <= pixels:
        return images
    rows = _scaling(height, _scaled(height, short, pixels), 1, images.device)
    columns = _scaling(width, _scaled(width, short, pixels), channels, images.device)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has 8 bits: steps of 1
        return torch.cat([_products(part, rows, columns) for part in images.split(_PIECE)])


def _products(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, H, W, C) by the rows' weights (h, H) and the columns' (w * C, W * C): (N, h, w, C)."""
    count, height, _, channels = images.shape
    narrow = torch.matmul(rows, images.to(torch.float32).reshape(count, height, -1))
    return (narrow.flatten(0, 1) @ columns.T).view(count, len(rows), -1, channels)


@lru_cache(maxsize=64)
def _scaling(size: int, wanted: int, channels: int, device: torch.device) -> Tensor:
    """Weights (wanted * channels, size * channels) of a row of pixels, whose channels stay apart.

    A triangle of half-width size / wanted pixels about each new pixel's centre, cut off at the
    image's border, of sum 1.
    """
    scale = size / wanted
    centres = (torch.arange(wanted, dtype=torch.float64) + 0.5) * scale
    distances = (torch.arange(size, dtype=torch.float64) + 0.5) - centres[:, None]
    weights = (1 - distances.abs() / scale).clamp(min=0)
    weights = (weights / weights.sum(1, keepdim=True)).to(torch.float32)
    return torch.kron(weights, torch.eye(channels)).to(device)


def _scaled(side: int, short: int, pixels: int) -> int:
    """``side * pixels / short``, rounded half up."""
    return (2 * side * pixels + short) // (2 * short)


def _reflected(index: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - index.abs()).abs()


def _inside(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)
