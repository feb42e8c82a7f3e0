"""Intervals of a mean difference over two sources of luck: the seeds and the test images.

The difference of a pair of runs on an image is taken for mean + seed + image + rest, each drawn
independently, seeds and images crossed: every pair of runs sees every image. Three questions have
three intervals.

``seeds``: these test images, other seeds. Student's interval of the pairs' means.
``images``: these runs, other images like these. Student's interval of the images' means.
``seeds_and_images``: other seeds and other images. The variance of the mean is that of its seeds plus that of
its images minus the rest, which both contain (Cornfield & Tukey 1956; for proportions Owen 2007);
Student's t with Satterthwaite's degrees of freedom.

No run is resampled as if it were an image.
"""

import math
from typing import NamedTuple

import numpy as np

from cifarlab.stats.paired import ALPHA, Interval


class CrossedIntervals(NamedTuple):
    """The mean of differences (S, N), its intervals, and the test that the mean is zero.

    ``t``, with its degrees of ``freedom``, is that of other seeds and other images; of a single
    pair of runs, that of other images. None where the differences do not vary.
    """

    n_seeds: int
    n_images: int
    mean: float
    seeds: Interval | None
    images: Interval
    seeds_and_images: Interval | None
    t: float | None
    freedom: float

    def p_value(self, n_chosen: int = 1) -> float | None:
        """Return the p value of no difference, of t.

        With ``n_chosen`` above 1 it holds for whatever was put together from so many differences
        after looking at them (Scheffé 1953): the square of t over their number has Fisher's F.
        """
        from scipy.stats import f

        if self.t is None:
            return None
        return float(f.sf(self.t**2 / n_chosen, n_chosen, self.freedom))


def crossed_intervals(differences: np.ndarray, level: float | None = ALPHA) -> CrossedIntervals:
    """Return the three intervals of the mean of ``differences`` (S pairs of runs, N images).

    ``level`` is the chance of an error of the intervals over seeds, None where there is none: a
    plan with several looks gives each look a part of it.
    """
    n_seeds, n_images = differences.shape
    mean = float(differences.mean())
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    image_error, freedom = float(by_image.var(ddof=1)) / n_images, n_images - 1.0
    images = _interval(mean, image_error, freedom, ALPHA)
    seeds = seeds_and_images = None
    error = image_error
    if n_seeds > 1:
        seed_error = float(by_seed.var(ddof=1)) / n_seeds
        rest = differences - by_seed[:, None] - by_image[None, :] + mean
        degrees = (n_seeds - 1) * (n_images - 1)
        rest_error = float(np.square(rest).sum()) / degrees / (n_seeds * n_images)
        # a negative estimate of the images' own variance counts as none
        error = seed_error + max(image_error - rest_error, 0.0)
        estimates = ((seed_error, n_seeds - 1), (image_error, freedom), (rest_error, degrees))
        parts = sum(estimate**2 / its_freedom for estimate, its_freedom in estimates)
        freedom = max(n_seeds - 1.0, error**2 / parts) if parts else freedom
        if level is not None:
            seeds = _interval(mean, seed_error, n_seeds - 1, level)
            seeds_and_images = _interval(mean, error, freedom, level)
    t = mean / math.sqrt(error) if error else None
    intervals = seeds, images, seeds_and_images
    return CrossedIntervals(n_seeds, n_images, mean, *intervals, t, freedom)


def _interval(mean: float, variance: float, freedom: float, level: float) -> Interval:
    from scipy.special import stdtrit

    half_width = float(stdtrit(freedom, 1 - level / 2)) * math.sqrt(variance)
    return mean - half_width, mean + half_width
