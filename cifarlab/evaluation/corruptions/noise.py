"""Noise on each value alone: from a sensor, from counted photons, from bits that flip."""

from functools import lru_cache

import torch
from torch import Tensor

_GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)  # std
_SHOT = (500, 250, 100, 75, 50)  # photons of a white pixel
_IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)  # fraction of the values


def normal_draws(
    generator: torch.Generator, shape: tuple[int, int, int, int], _severity: int
) -> tuple[Tensor]:
    """A standard normal number for each value (N, H, W, C)."""
    return (torch.randn(shape, generator=generator),)


def uniform_draws(
    generator: torch.Generator, shape: tuple[int, int, int, int], _severity: int
) -> tuple[Tensor]:
    """A number from 0 to 1 for each value (N, H, W, C)."""
    return (torch.rand(shape, generator=generator),)


def gaussian_noise(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Added to each value: normal noise."""
    return images + _GAUSSIAN[severity - 1] * draws[0]


def impulse_noise(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Salt and pepper: some values become 0, as many become 1."""
    half = _IMPULSE[severity - 1] / 2
    salted = torch.where(draws[0] >= 1 - half, 1.0, images)
    return torch.where(draws[0] < half, 0.0, salted)


def shot_noise(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Each value counted in photons, a Poisson number, by the inverse of its distribution.

    Takes values of n / 255.
    """
    photons = _SHOT[severity - 1]
    table = _poisson_table(photons).to(images.device)
    levels = (images * 255).round().to(torch.int64)
    width = table.numel() // 256
    # one ascending sequence: the distribution of level n lies between n and n + 1
    photon_counts = torch.searchsorted(table, levels + draws[0].double()) - levels * width
    return photon_counts / photons


@lru_cache(maxsize=8)
def _poisson_table(photons: int) -> Tensor:
    """n + the chance of at most k photons at level n: float64 (256 * most,), ascending."""
    import numpy as np
    from scipy.stats import poisson

    most = int(poisson.isf(1e-12, photons)) + 1
    chances = poisson.cdf(np.arange(most), photons * np.arange(256)[:, None] / 255)
    chances[:, -1] = 1.0
    return torch.from_numpy((chances + np.arange(256)[:, None]).ravel())
