"""Blur: out of focus, through frosted glass, of a moving camera, of one that comes nearer.

A linear, separable filter is one matrix for each axis. The matrix is what SciPy's filter makes of
the identity, so results are SciPy's.
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
    """Filter the rows and the columns of images (N, H, W, C) by the ``matrix`` of their size."""
    height, width, channels = images.shape[1:]
    columns = torch.kron(matrix(width), torch.eye(channels)).to(images)
    return apply_weights(images, matrix(height).to(images), columns)


@lru_cache(maxsize=64)
def gaussian_matrix(size: int, sigma: float, mode: str, truncate: float) -> Tensor:
    """Return SciPy's Gaussian filter as a matrix (size, size).

    Args:
        size: pixels of the side
        sigma: standard deviation in pixels
        mode: what is beyond the border, as SciPy names it
        truncate: where the Gaussian ends, in standard deviations
    """
    from scipy.ndimage import gaussian_filter1d

    eye = np.eye(size)
    return torch.from_numpy(gaussian_filter1d(eye, sigma, 0, mode=mode, truncate=truncate))


@lru_cache(maxsize=256)
def zoom_matrix(size: int, factor: float) -> Tensor:
    """Return the matrix (size, size) that magnifies the middle by ``factor`` >= 1, bilinear.

    What is magnified has ceil(size / factor) pixels, and its outer pixels stay outer ones.
    """
    from scipy.ndimage import zoom as scipy_zoom

    part = int(np.ceil(size / factor))
    top = (size - part) // 2
    magnified = scipy_zoom(np.eye(size)[top : top + part], (factor, 1), order=1)
    spare = (len(magnified) - size) // 2
    return torch.from_numpy(magnified[spare : spare + size])


def defocus_blur(images: Tensor, _draws: Draws, radius: float, alias_blur: float) -> Tensor:
    """Blur each point to a disc whose edge is softened by a 3 x 3 Gaussian; borders are reflected.

    Args:
        images: float32 (N, H, W, C), 0..1
        _draws: not used
        radius: of the disc, in pixels
        alias_blur: standard deviation of the Gaussian, in pixels
    """
    from scipy.ndimage import convolve1d

    across = np.arange(-2, 3)
    disc = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float64)
    edge = np.exp(-0.5 * (np.arange(-1, 2) / alias_blur) ** 2)
    for axis in (0, 1):
        disc = convolve1d(disc, edge, axis, mode="constant")
    kernel, channels = torch.from_numpy(disc / disc.sum()).to(images), images.shape[3]
    padded = pad(images.permute(0, 3, 1, 2), [2] * 4, mode="reflect")
    blurred = conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
    return blurred.permute(0, 2, 3, 1)


def glass_blur(images: Tensor, draws: Draws, sigma: float, max_delta: int, n_iter: int) -> Tensor:
    """Blur, exchange inner pixels with neighbours up or left one by one, and blur again.

    Args:
        images: float32 (N, H, W, C), 0..1
        draws: the batch's random numbers
        sigma: standard deviation of the Gaussian blur, in pixels
        max_delta: how far a neighbour is at most, in pixels
        n_iter: how often all pixels are exchanged
    """
    count, height, width, channels = images.shape
    # down and right
    deltas = draws.integers(-max_delta, max_delta, n_iter, height, width, count, 2)
    gaussian = partial(gaussian_matrix, sigma=sigma, mode="nearest", truncate=4.0)
    sources = torch.arange(height * width, device=images.device).repeat(count, 1)
    image_indices = torch.arange(count, device=images.device)
    for steps in deltas[..., 0] * width + deltas[..., 1]:
        for row in range(height - max_delta, max_delta, -1):
            for column in range(width - max_delta, max_delta, -1):
                pixel = row * width + column
                neighbors = pixel + steps[row, column]
                source = sources[:, pixel].clone()
                sources[:, pixel] = sources[image_indices, neighbors]
                sources[image_indices, neighbors] = source
    blurred = both_axes(images, gaussian).reshape(count, -1, channels)
    exchanged = blurred.gather(1, sources[..., None].expand(-1, -1, channels))
    return both_axes(exchanged.reshape(images.shape), gaussian)


def motion_blur(images: Tensor, draws: Draws, radius: int, sigma: float) -> Tensor:
    """Smear each point along a line, at -45 to 45 degrees.

    Args:
        images: float32 (N, H, W, C), 0..1
        draws: the batch's random numbers
        radius: as in ``blur_along``
        sigma: as in ``blur_along``
    """
    return blur_along(images, draws.uniform(-45, 45, len(images)), radius, sigma)


def blur_along(images: Tensor, angles: Tensor, radius: int, sigma: float) -> Tensor:
    """Smear each pixel along a line by half a Gaussian, as ImageMagick does.

    Its taps lie at the whole pixels nearest to the line. Beyond the border is the edge's pixel.

    Args:
        images: float32 (N, H, W, C), 0..1
        angles: degrees (N,): 0 points right, 90 down
        radius: there are 2 * radius + 1 taps
        sigma: standard deviation of the Gaussian, in pixels
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


def zoom_blur(images: Tensor, _draws: Draws, max_factor: float) -> Tensor:
    """Return the mean of the image and of ever more magnified copies.

    Args:
        images: float32 (N, H, W, C), 0..1
        _draws: not used
        max_factor: where magnification ends
    """
    total = images
    factors = np.arange(1, max_factor, 0.01)
    for factor in factors:
        total = total + both_axes(images, partial(zoom_matrix, factor=float(factor)))
    return total / (len(factors) + 1)
