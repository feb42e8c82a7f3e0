"""Noise on each value by itself: from a sensor, from counted photons, from bits that flip."""

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from cifarlab.evaluation.corruptions.draws import Draws
from cifarlab.system.device import widest_float


def gaussian_noise(images: Tensor, draws: Draws, std: float) -> Tensor:
    """Add normal noise to each value.

    Args:
        images: float32 (N, H, W, C), 0..1
        draws: the batch's random numbers
        std: the noise's standard deviation
    """
    return images + std * draws.normal(*images.shape)


def impulse_noise(images: Tensor, draws: Draws, fraction: float) -> Tensor:
    """Set some values to 0 and as many to 1 (salt and pepper).

    Args:
        images: float32 (N, H, W, C), 0..1
        draws: the batch's random numbers
        fraction: the chance of a value to be replaced, 0..1
    """
    chances = draws.uniform(0, 1, *images.shape)
    salted = torch.where(chances >= 1 - fraction / 2, 1.0, images)
    return torch.where(chances < fraction / 2, 0.0, salted)


def shot_noise(images: Tensor, draws: Draws, photons: int) -> Tensor:
    """Replace each value by a Poisson number of photons, drawn by the inverse of its distribution.

    Args:
        images: float32 (N, H, W, C), of values n / 255
        draws: the batch's random numbers
        photons: the mean number of photons of a white pixel
    """
    device = images.device
    if widest_float(device) != torch.float64:  # the table needs it
        cpu = replace(draws, device=torch.device("cpu"))
        return shot_noise(images.cpu(), cpu, photons).to(device)
    table = _poisson_table(photons).to(device)
    levels = (images * 255).round().to(torch.int64)
    width = table.numel() // 256
    # the table is one ascending sequence: the distribution of level n lies between n and n + 1
    chances = levels + draws.uniform(0, 1, *images.shape).double()
    return (torch.searchsorted(table, chances) - levels * width) / photons


@lru_cache(maxsize=8)
def _poisson_table(photons: int) -> Tensor:
    """Return n + the chance of at most k photons at level n: float64 (256 * width,), ascending."""
    import numpy as np
    from scipy.stats import poisson

    width = int(poisson.isf(1e-12, photons)) + 1
    chances = poisson.cdf(np.arange(width), photons * np.arange(256)[:, None] / 255)
    chances[:, -1] = 1.0
    return torch.from_numpy((chances + np.arange(256)[:, None]).ravel())
