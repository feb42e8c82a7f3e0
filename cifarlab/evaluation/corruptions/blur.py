"""Blur: out of focus, through frosted glass, of a moving camera, of one that comes nearer.

Filters that are linear and separable are one matrix for each axis, read off what SciPy does to the
rows of the identity, so it is SciPy's exactly.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from cifarlab.augment.transforms import apply_weights, translate
from cifarlab.evaluation.corruptions.draws import Draws

_LEAST_TAP = 1e-4


def both_axes(images: Tensor, matrix: Callable[[int], Tensor]) -> Tensor:
    """Images (N, H, W, C) by a ``matrix`` of their side's size, for the rows and the columns."""
    height, width, channels = images.shape[1:]
    columns = torch.kron(matrix(width), torch.eye(channels)).to(images)
    return apply_weights(images, matrix(height).to(images), columns)


@lru_cache(maxsize=64)
def gaussian_matrix(size: int, sigma: float, mode: str, truncate: float) -> Tensor:
    """SciPy's Gaussian filter over ``size`` pixels: (size, size); ``mode`` is its border's."""
    from scipy.ndimage import gaussian_filter1d

    eye = np.eye(size)
    return torch.from_numpy(gaussian_filter1d(eye, sigma, 0, mode=mode, truncate=truncate))


@lru_cache(maxsize=256)
def zoom_matrix(size: int, factor: float) -> Tensor:
    """The middle magnified by ``factor`` from 1 on, at the old size: (size, size), bilinear.

    The part that is magnified has ceil(size / factor) pixels, and its outer pixels stay outer ones.
    """
    from scipy.ndimage import zoom as scipy_zoom

    part = int(np.ceil(size / factor))
    top = (size - part) // 2
    magnified = scipy_zoom(np.eye(size)[top : top + part], (factor, 1), order=1)
    spare = (len(magnified) - size) // 2
    return torch.from_numpy(magnified[spare : spare + size])


def defocus_blur(images: Tensor, _draws: Draws, radius: float, softness: float) -> Tensor:
    """A disc of light for each point, its edge softened by a 3 x 3 Gaussian; edges reflected."""
    from scipy.ndimage import convolve1d

    across = np.arange(-2, 3)
    disc = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float64)
    edge = np.exp(-0.5 * (np.arange(-1, 2) / softness) ** 2)
    for axis in (0, 1):
        disc = convolve1d(disc, edge, axis, mode="constant")
    kernel, channels = torch.from_numpy(disc / disc.sum()).to(images), images.shape[3]
    padded = pad(images.permute(0, 3, 1, 2), [2] * 4, mode="reflect")
    blurred = conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
    return blurred.permute(0, 2, 3, 1)


def glass_blur(images: Tensor, draws: Draws, sigma: float, reach: int, rounds: int) -> Tensor:
    """Blurred, its inner pixels exchanged with neighbours up or left one by one, blurred again."""
    count, height, width, channels = images.shape
    moves = draws.integers(-reach, reach, rounds, height, width, count, 2)  # down and right
    gaussian = partial(gaussian_matrix, sigma=sigma, mode="nearest", truncate=4.0)
    sources = torch.arange(height * width, device=images.device).repeat(count, 1)
    every = torch.arange(count, device=images.device)
    for steps in moves[..., 0] * width + moves[..., 1]:
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                here = row * width + column
                there = here + steps[row, column]
                saved = sources[:, here].clone()
                sources[:, here] = sources[every, there]
                sources[every, there] = saved
    blurred = both_axes(images, gaussian).reshape(count, -1, channels)
    exchanged = blurred.gather(1, sources[..., None].expand(-1, -1, channels))
    return both_axes(exchanged.reshape(images.shape), gaussian)


def motion_blur(images: Tensor, draws: Draws, radius: int, sigma: float) -> Tensor:
    """Smeared along a line from each point, at -45 to 45 degrees."""
    return blur_along(images, draws.uniform(-45, 45, len(images)), radius, sigma)


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


def zoom_blur(images: Tensor, _draws: Draws, largest: float) -> Tensor:
    """The mean of the image and of the same ever more magnified."""
    total = images
    factors = np.arange(1, largest, 0.01)
    for factor in factors:
        total = total + both_axes(images, partial(zoom_matrix, factor=float(factor)))
    return total / (len(factors) + 1)
