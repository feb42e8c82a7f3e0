"""Blur: out of focus, through frosted glass, of a moving camera, of one that comes nearer."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from cifarlab.augment.transforms import translate
from cifarlab.evaluation.corruptions.linear import both_axes, gaussian_matrix, zoom_matrix

_DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))  # radius, edge's std
_GLASS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
_MOTION = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))  # radius, std
_ZOOM = (1.06, 1.11, 1.16, 1.21, 1.26)
_LEAST_TAP = 1e-4


def defocus_blur(images: Tensor, _draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """A disc of light for each point; edges reflected."""
    kernel = torch.from_numpy(disc(*_DEFOCUS[severity - 1])).to(images)
    channels, reach = images.shape[3], len(kernel) // 2
    padded = pad(images.permute(0, 3, 1, 2), [reach] * 4, mode="reflect")
    blurred = conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
    return blurred.permute(0, 2, 3, 1)


def disc(radius: float, softness: float) -> np.ndarray:
    """The kernel, float64 (5, 5) of sum 1: a disc, its edge softened by a 3 x 3 Gaussian."""
    from scipy.ndimage import convolve1d

    across = np.arange(-2, 3)
    sharp = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float64)
    edge = np.exp(-0.5 * (np.arange(-1, 2) / softness) ** 2)
    soft = convolve1d(convolve1d(sharp, edge, 0, mode="constant"), edge, 1, mode="constant")
    return soft / soft.sum()


def glass_draws(
    generator: torch.Generator, shape: tuple[int, int, int, int], severity: int
) -> tuple[Tensor]:
    """Which neighbour a pixel is exchanged with: int64 (rounds, H, W, N, 2), down and right."""
    _, reach, rounds = _GLASS[severity - 1]
    wanted = (rounds, shape[1], shape[2], shape[0], 2)
    return (torch.randint(-reach, reach, wanted, generator=generator),)


def glass_blur(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Blurred, its inner pixels exchanged with neighbours up or left one by one, blurred again."""
    sigma, reach, _ = _GLASS[severity - 1]
    count, height, width, channels = images.shape
    rows, columns = (gaussian_matrix(side, sigma, "nearest", 4.0) for side in (height, width))
    sources = torch.arange(height * width, device=images.device).repeat(count, 1)
    steps = draws[0][..., 0] * width + draws[0][..., 1]
    every = torch.arange(count, device=images.device)
    for moves in steps:
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                here = row * width + column
                there = here + moves[row, column]
                saved = sources[:, here].clone()
                sources[:, here] = sources[every, there]
                sources[every, there] = saved
    blurred = both_axes(images, rows, columns).reshape(count, -1, channels)
    exchanged = blurred.gather(1, sources[..., None].expand(-1, -1, channels))
    return both_axes(exchanged.reshape(images.shape), rows, columns)


def motion_draws(
    generator: torch.Generator, shape: tuple[int, int, int, int], _severity: int
) -> tuple[Tensor]:
    """Angles from -45 to 45 degrees (N,)."""
    return (torch.rand(shape[0], generator=generator) * 90 - 45,)


def motion_blur(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Smeared along a line from each point."""
    return blur_along(images, draws[0], *_MOTION[severity - 1])


def blur_along(images: Tensor, angles: Tensor, radius: int, sigma: float) -> Tensor:
    """Half a Gaussian from each pixel of (N, H, W, C) along its angle (N,), as ImageMagick does.

    Taps 0..2 * radius lie at the whole pixels nearest to the line; 0 degrees points right, 90 down.
    Beyond the border is the edge's pixel.
    """
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    radians = angles.deg2rad()
    line = torch.stack([radians.sin(), radians.cos()], 1)  # down and right
    total = torch.zeros_like(images)
    for distance, weight in enumerate(weights[weights >= _LEAST_TAP]):
        offsets = (distance * line - 0.5).ceil().to(torch.int64)
        total += float(weight) * translate(images, -offsets, "nearest")
    return total


def zoom_blur(images: Tensor, _draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """The mean of the image and of the same ever more magnified."""
    total = images
    factors = np.arange(1, _ZOOM[severity - 1], 0.01)
    for factor in factors:
        rows, columns = (zoom_matrix(side, float(factor)) for side in images.shape[1:3])
        total = total + both_axes(images, rows, columns)
    return total / (len(factors) + 1)
