"""Simulations in which test images are drawn, too, and the figures that all simulations give."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import chdtrc, ndtr, ndtri

from cifarlab.stats.crossed import crossed_intervals
from cifarlab.stats.paired import ALPHA

SIZES = ((3, 500), (5, 500), (10, 200))  # seeds, images
N_RECIPES, N_IMAGES = 50, 400


class Figure(NamedTuple):
    """A mean with its Monte Carlo error, and what is promised of it."""

    value: float
    error: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Return whether it is within its bounds, but for three Monte Carlo errors."""
        high = self.at_most is None or self.value <= self.at_most + 3 * self.error
        return high and (self.at_least is None or self.value >= self.at_least - 3 * self.error)


Figures = dict[str, Figure]


def mean(values: Any, at_most: float | None = None, at_least: float | None = None) -> Figure:
    """Return the mean of values or truth values."""
    numbers = np.asarray(values, np.float64)
    error = float(numbers.std() / np.sqrt(len(numbers)))
    return Figure(float(numbers.mean()), error, at_most, at_least)


def coverage_of_images(draws: np.random.Generator, n_studies: int) -> Figures:
    """Two recipes whose runs are right or wrong on each image: how often each interval is right.

    A run is right where ability + image + recipe on image + seed + chance is above 0. All but the
    ability are normal, so that each question's true answer is known.
    """
    ability, of_image, of_recipe, of_seed = (1.0, 1.2), 1.0, 0.5, 0.08
    figures = {}
    for n_seeds, n_images in SIZES:
        kept: list[list[bool]] = []
        for _ in range(max(100, n_studies // 5)):
            images = draws.normal(0, of_image, n_images)
            rights, on_images, of_runs, overall = [], [], [], []
            for level in ability:
                score = level + images + draws.normal(0, of_recipe, n_images)
                seeds = draws.normal(0, of_seed, (n_seeds, 1))
                rights.append(score + seeds + draws.standard_normal((n_seeds, n_images)) > 0)
                spread = 1 + of_image**2 + of_recipe**2
                on_images.append(ndtr(score / np.sqrt(1 + of_seed**2)).mean())
                of_runs.append(ndtr((level + seeds) / np.sqrt(spread)).mean())
                overall.append(ndtr(level / np.sqrt(spread + of_seed**2)))
            result = crossed_intervals(rights[1].astype(float) - rights[0])
            truths = [pair[1] - pair[0] for pair in (on_images, of_runs, overall)]
            intervals = result.seeds, result.images, result.seeds_and_images
            kept.append(
                [low <= truth <= high for (low, high), truth in zip(intervals, truths, strict=True)]
            )
        for column, question in enumerate(("seeds", "images", "seeds and images")):
            name = f"{n_seeds} seeds, {n_images} images: over {question}"
            figures[name] = mean(np.array(kept)[:, column], 0.97, 0.93)
    return figures


def choice(draws: np.random.Generator, n_studies: int) -> Figures:
    """Recipes that are all worth the same, tried on one set of test images: false claims.

    The best of many is compared with the first recipe. Or each new recipe is a change of the best
    one so far, and a part of its luck on these images stays; the last is compared with the first.
    Scheffé's correction (1953) is for whatever was put together from 50 differences.
    """
    n_repeats = max(50, n_studies // 10)
    ways = {"the best of 50": 0.0}
    ways |= {
        f"50 changes of the best so far, {stays:.0%} of the luck stays": stays
        for stays in (0.5, 0.9, 0.99)
    }
    figures = {}
    for name, stays in ways.items():
        ps = np.array([last_p(draws, stays) for _ in range(n_repeats)])
        figures[f"{name}: p"] = mean(ps <= ALPHA)
        bound = ALPHA if stays == 0 else None
        figures[f"{name}: p times 50"] = mean(N_RECIPES * ps <= ALPHA, bound)
        scheffe = chdtrc(N_RECIPES, np.square(ndtri(ps / 2)))
        figures[f"{name}: p by Scheffé over 50"] = mean(scheffe <= ALPHA, ALPHA)
    return figures


def last_p(draws: np.random.Generator, stays: float) -> float:
    """Return the p value of the chosen recipe being better than the first one, over images."""
    first = draws.standard_normal(N_IMAGES)
    best = first
    for _ in range(N_RECIPES):
        new = stays * best + np.sqrt(1 - stays**2) * draws.standard_normal(N_IMAGES)
        if new.mean() > best.mean():
            best = new
    differences = best - first
    if best is first:
        return 1.0
    return float(2 * ndtr(-differences.mean() / differences.std() * np.sqrt(N_IMAGES)))
