"""Intervals of a mean difference over two sources of luck: the seeds and the test images.

The difference of a pair of runs on an image is taken for mean + seed + image + rest, each drawn
independently, seeds and images crossed: every pair of runs sees every image. Three questions have
three intervals.

``seeds``: these test images, other seeds. Student's interval of the pairs' means.
``images``: these runs, other images like these. The normal interval of the images' means.
``seeds_and_images``: other seeds and other images. The variance of the mean is that of its seeds
plus that of its images minus the rest, which both contain (Cornfield & Tukey 1956; for proportions
Owen 2007); Student's t with Satterthwaite's degrees of freedom.

No run is resampled as if it were an image.
"""

import math
from typing import NamedTuple

import numpy as np

from cifarlab.stats.paired import LEVEL, Interval


class CrossedIntervals(NamedTuple):
    """The mean of differences (S, N), and its 95 % intervals; of one pair, that of images alone."""

    n_seeds: int
    n_images: int
    mean: float
    seeds: Interval | None
    images: Interval
    seeds_and_images: Interval | None


def crossed_intervals(differences: np.ndarray) -> CrossedIntervals:
    """Return the three intervals of the mean of ``differences`` (S pairs of runs, N images)."""
    n_seeds, n_images = differences.shape
    mean = float(differences.mean())
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    image_error = float(by_image.var(ddof=1)) / n_images
    images = _interval(mean, image_error, math.inf)
    if n_seeds < 2:
        return CrossedIntervals(n_seeds, n_images, mean, None, images, None)
    seed_error = float(by_seed.var(ddof=1)) / n_seeds
    rest = differences - by_seed[:, None] - by_image[None, :] + mean
    degrees = (n_seeds - 1) * (n_images - 1)
    rest_error = float(np.square(rest).sum()) / degrees / (n_seeds * n_images)
    # a negative estimate of seeds' or images' own variance counts as none
    error = max(seed_error + image_error - rest_error, seed_error, image_error)
    parts = (
        seed_error**2 / (n_seeds - 1) + image_error**2 / (n_images - 1) + rest_error**2 / degrees
    )
    freedom = max(n_seeds - 1.0, error**2 / parts) if parts else math.inf
    seeds = _interval(mean, seed_error, n_seeds - 1)
    return CrossedIntervals(n_seeds, n_images, mean, seeds, images, _interval(mean, error, freedom))


def _interval(mean: float, variance: float, freedom: float) -> Interval:
    from scipy.stats import norm, t

    quantile = norm.ppf((1 + LEVEL) / 2) if freedom == math.inf else t.ppf((1 + LEVEL) / 2, freedom)
    half_width = float(quantile) * math.sqrt(variance)
    return mean - half_width, mean + half_width
