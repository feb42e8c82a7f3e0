"""Filters that are linear and separable, as one matrix for each axis.

A matrix is read off what SciPy or Pillow do to the rows of the identity, so it is theirs exactly.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def both_axes(images: Tensor, rows: Tensor, columns: Tensor | None = None) -> Tensor:
    """Images (N, H, W, C) by a matrix (h, H) for the rows and (w, W) for the columns.

    One matrix alone serves both.
    """
    columns = rows if columns is None else columns
    count, height, _, channels = images.shape
    tall = torch.matmul(rows.to(images), images.reshape(count, height, -1))
    # channels stay apart in one large product, which is faster than many small ones
    apart = torch.kron(columns, torch.eye(channels)).to(images)
    return (tall.flatten(0, 1) @ apart.T).view(count, len(rows), len(columns), channels)


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


@lru_cache(maxsize=64)
def pixelate_matrix(size: int, small: int) -> Tensor:
    """Pillow's box filter down to ``small`` pixels and up again: (size, size)."""
    from PIL import Image

    eye = Image.fromarray(np.eye(size, dtype=np.float32))
    down = eye.resize((size, small), Image.Resampling.BOX)
    return torch.from_numpy(np.array(down.resize((size, size), Image.Resampling.BOX)))
