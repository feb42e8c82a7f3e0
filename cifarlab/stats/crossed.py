"""Intervals of a mean difference over two sources of luck: the seeds and the test images.

The difference of a pair of runs on an image is taken for mean + seed + image + rest, each drawn
independently, seeds and images crossed: every pair of runs sees every image. Three questions have
three intervals.

``seeds``: these test images, other seeds. Student's interval of the pairs' means.
``images``: these runs, other images like these. The normal interval of the images' means.
``seeds_and_images``: other seeds and other images. The variance of the mean is that over its seeds
plus that over its images minus the rest's, which both contain (Cornfield & Tukey 1956; without
normal effects Owen 2007); Student's t with the degrees of freedom of Satterthwaite 1946.

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
    """Return the three intervals of the mean of ``differences`` (S pairs of runs, N images).

    There are two images at least.
    """
    n_seeds, n_images = differences.shape
    mean = float(differences.mean())
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    # variances of the mean: over seeds, over images, and the rest's, which is in both
    over_images = float(by_image.var(ddof=1)) / n_images
    images = _interval(mean, over_images, math.inf)
    if n_seeds < 2:
        return CrossedIntervals(n_seeds, n_images, mean, None, images, None)
    over_seeds = float(by_seed.var(ddof=1)) / n_seeds
    rest = differences - by_seed[:, None] - by_image[None, :] + mean
    degrees = (n_seeds - 1) * (n_images - 1)
    of_rest = float(np.square(rest).sum()) / degrees / (n_seeds * n_images)
    # a negative estimate of seeds' or images' own variance counts as none
    total = max(over_seeds + over_images - of_rest, over_seeds, over_images)
    parts = over_seeds**2 / (n_seeds - 1) + over_images**2 / (n_images - 1) + of_rest**2 / degrees
    freedom = max(n_seeds - 1.0, total**2 / parts) if parts else math.inf
    seeds = _interval(mean, over_seeds, n_seeds - 1)
    return CrossedIntervals(
        n_seeds, n_images, mean, seeds, images, _interval(mean, total, freedom)
    )


def _interval(mean: float, variance: float, freedom: float) -> Interval:
    from scipy.stats import norm, t

    quantile = norm.ppf((1 + LEVEL) / 2) if freedom == math.inf else t.ppf((1 + LEVEL) / 2, freedom)
    half_width = float(quantile) * math.sqrt(variance)
    return mean - half_width, mean + half_width
