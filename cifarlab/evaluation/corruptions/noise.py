"""Noise on each value alone: from a sensor, from counted photons, from bits that flip."""

from functools import lru_cache

import torch
from torch import Tensor

from cifarlab.evaluation.corruptions.draws import Draws


def gaussian_noise(images: Tensor, draws: Draws, std: float) -> Tensor:
    """Added to each value: normal noise."""
    return images + std * draws.normal(*images.shape)


def impulse_noise(images: Tensor, draws: Draws, fraction: float) -> Tensor:
    """Salt and pepper: some values become 0, as many become 1."""
    chances = draws.uniform(0, 1, *images.shape)
    salted = torch.where(chances >= 1 - fraction / 2, 1.0, images)
    return torch.where(chances < fraction / 2, 0.0, salted)


def shot_noise(images: Tensor, draws: Draws, photons: int) -> Tensor:
    """Each value counted in photons, a Poisson number, by the inverse of its distribution.

    Takes values of n / 255; ``photons`` are those of a white pixel.
    """
    table = _poisson_table(photons).to(images.device)
    levels = (images * 255).round().to(torch.int64)
    width = table.numel() // 256
    # one ascending sequence: the distribution of level n lies between n and n + 1
    chances = levels + draws.uniform(0, 1, *images.shape).double()
    return (torch.searchsorted(table, chances) - levels * width) / photons


@lru_cache(maxsize=8)
def _poisson_table(photons: int) -> Tensor:
    """n + the chance of at most k photons at level n: float64 (256 * most,), ascending."""
    import numpy as np
    from scipy.stats import poisson

    most = int(poisson.isf(1e-12, photons)) + 1
    chances = poisson.cdf(np.arange(most), photons * np.arange(256)[:, None] / 255)
    chances[:, -1] = 1.0
    return torch.from_numpy((chances + np.arange(256)[:, None]).ravel())
