"""Intervals of a mean difference over two sources of luck: the seeds and the test images.

The difference of a pair of runs on an image is taken for mean + seed + image + rest, each drawn
independently, seeds and images crossed: every pair of runs sees every image. Three questions have
three intervals.

``seeds``: these test images, other seeds. Student's interval of the pairs' means.
``images``: these runs, other images like these. Student's interval of the images' means.
``seeds_and_images``: other seeds and other images. The variance of the mean is that of its seeds
plus that of its images minus the rest, which both contain (Cornfield & Tukey 1956; for proportions
Owen 2007); Student's t with Satterthwaite's degrees of freedom. It is never narrower than that of
seeds alone, as the approximation is with very few seeds: with two, it would cover 90 % only.

No run is resampled as if it were an image. Where all pairs of runs have the same mean, nothing is
known of other seeds: it may be luck.
"""

import math
from typing import NamedTuple

import numpy as np

from cifarlab.stats.paired import ALPHA, EQUAL, Interval


class CrossedIntervals(NamedTuple):
    """The mean of differences (S, N), its intervals, and the tests that the mean is zero.

    An interval is None where its means do not vary. ``tests`` are values of t with their degrees of
    freedom, of other seeds and other images: the greater p value counts. Of a single pair of runs
    it is that of other images. Empty where the means do not vary.
    """

    n_seeds: int
    n_images: int
    mean: float
    seeds: Interval | None
    images: Interval | None
    seeds_and_images: Interval | None
    tests: tuple[tuple[float, float], ...]

    def p_value(self, n_chosen: int = 1) -> float | None:
        """Return the p value of no difference; None where there is no test.

        With ``n_chosen`` above 1 it holds for whatever was put together from so many differences
        after looking at them (Scheffé 1953): the square of t over their number has Fisher's F.
        """
        from scipy.stats import f

        ps = [float(f.sf(t**2 / n_chosen, n_chosen, freedom)) for t, freedom in self.tests]
        return max(ps, default=None)


def crossed_intervals(differences: np.ndarray, level: float | None = ALPHA) -> CrossedIntervals:
    """Return the three intervals of the mean of ``differences`` (S pairs of runs, N images).

    ``level`` is each interval's chance of an error, None where there is no interval: a plan with
    several looks gives each look a part of it. Of a single pair, which no plan looks at, it is 5 %.

    Raises:
        ValueError: there is one image
    """
    n_seeds, n_images = differences.shape
    if n_images < 2:
        raise ValueError("one image says nothing of others")
    mean, by_image = float(differences.mean()), differences.mean(axis=0)
    image_error = float(by_image.var(ddof=1)) / n_images
    of_images = [(image_error, n_images - 1.0)] if np.ptp(by_image) > EQUAL else []
    if n_seeds == 1:
        images = _interval(mean, of_images, ALPHA)
        return CrossedIntervals(1, n_images, mean, None, images, None, _tests(mean, of_images))
    of_seeds, of_both = _seed_errors(differences, image_error)
    seeds, images, both = (_interval(mean, e, level) for e in (of_seeds, of_images, of_both))
    return CrossedIntervals(n_seeds, n_images, mean, seeds, images, both, _tests(mean, of_both))


_Errors = list[tuple[float, float]]  # variances of the mean, with their degrees of freedom


def _seed_errors(differences: np.ndarray, image_error: float) -> tuple[_Errors, _Errors]:
    """Return the errors for other seeds, and for other seeds and images; none without spread."""
    n_seeds, n_images = differences.shape
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    if not np.ptp(by_seed) > EQUAL:
        return [], []
    seed_error = float(by_seed.var(ddof=1)) / n_seeds
    rest = differences - by_seed[:, None] - by_image[None, :] + differences.mean()
    degrees = (n_seeds - 1) * (n_images - 1)
    rest_error = float(np.square(rest).sum()) / degrees / (n_seeds * n_images)
    # a negative estimate of the images' own variance counts as none
    error = seed_error + max(image_error - rest_error, 0.0)
    estimates = ((seed_error, n_seeds - 1), (image_error, n_images - 1), (rest_error, degrees))
    parts = sum(estimate**2 / freedom for estimate, freedom in estimates)
    of_seeds = [(seed_error, n_seeds - 1.0)]
    return of_seeds, [*of_seeds, (error, max(n_seeds - 1.0, error**2 / parts))]


def _interval(mean: float, errors: _Errors, level: float | None) -> Interval | None:
    """Return Student's interval: the widest; None without any error or level."""
    from scipy.special import stdtrit

    if level is None or not errors:
        return None
    width = max(-float(stdtrit(freedom, level / 2)) * math.sqrt(error) for error, freedom in errors)
    return mean - width, mean + width


def _tests(mean: float, errors: _Errors) -> tuple[tuple[float, float], ...]:
    return tuple((mean / math.sqrt(error), freedom) for error, freedom in errors)
