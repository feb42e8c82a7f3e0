"""Simulations in which test images are drawn, too, and the figures that all simulations give."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr
from scipy.stats import ncf, t

from cifarlab.evaluation.by_image import correct_for_wear
from cifarlab.stats.crossed import crossed_intervals
from cifarlab.stats.paired import ALPHA
from cifarlab.stats.sequential import Plan

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
    """Return the mean of values or truth values.

    Where all agree, the error is by the rule of three: three of them are 3 / n, and what is rarer
    than that may be missed (with 95 %).
    """
    numbers = np.asarray(values, np.float64)
    error = float(numbers.std() / np.sqrt(len(numbers))) or 1 / len(numbers)
    return Figure(float(numbers.mean()), error, at_most, at_least)


def power(effect: float, n: int) -> float:
    """Return the chance that one paired t test at 5 % finds a true d_z (Cohen 1988, chapter 2)."""
    critical = t.isf(ALPHA / 2, n - 1)
    # the square of a noncentral t is a noncentral F, whose tail SciPy computes for all values
    return float(ncf.sf(critical**2, 1, n - 1, n * effect**2))


def coverage_of_images(draws: np.random.Generator, n_studies: int) -> Figures:
    """Two recipes whose runs are right or wrong on each image: how often each interval is right.

    A run is right where ability + image + recipe on image + seed + chance is above 0. All but the
    ability are normal, so that each question's true answer is known.
    """
    ability, of_image, of_recipe, of_seed = (1.0, 1.2), 1.0, 0.5, 0.08
    figures = {}
    for n_seeds, n_images in SIZES:
        kept: list[list[bool | None]] = []  # None without an interval: the seeds agreed
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
            answers = zip(intervals, truths, strict=True)
            kept.append([ends and ends[0] <= truth <= ends[1] for ends, truth in answers])
        for column, question in enumerate(("seeds", "images", "seeds and images")):
            name = f"{n_seeds} seeds, {n_images} images: over {question}"
            holds = [row[column] for row in kept if row[column] is not None]
            figures[name] = mean(np.array(holds), 0.97, 0.93)
    return figures


def choice(draws: np.random.Generator, n_studies: int) -> Figures:
    """Recipes that are all worth the same, tried on one set of test images: false claims.

    The best of many is compared with the first recipe. Or each new recipe is a change of the best
    one so far, and a part of its luck on these images stays; the last is compared with the first.
    Scheffé's correction (1953) is for whatever was put together from 50 differences.
    """
    n_repeats = max(50, n_studies // 10)
    ways = {"the best of 50": (0.0, 1)}
    ways |= {
        f"50 changes of the best so far, {stays:.0%} of the luck stays": (stays, 1)
        for stays in (0.5, 0.9, 0.99)
    }
    ways["50 changes of the best so far, 90% of the luck stays, 3 seeds"] = 0.9, 3
    figures = {}
    for name, (stays, n_seeds) in ways.items():
        ps = np.array([last_ps(draws, stays, n_seeds) for _ in range(n_repeats)])
        is_claim = (ps <= ALPHA).T
        figures[f"{name}: p"] = mean(is_claim[0])
        figures[f"{name}: p times 50"] = mean(is_claim[1], None if stays else ALPHA)
        figures[f"{name}: p by Scheffé over 50"] = mean(is_claim[2], ALPHA)
    return figures


def last_ps(draws: np.random.Generator, stays: float, n_seeds: int) -> tuple[float, ...]:
    """Return the p values, as ``compare --by image`` has them, of the chosen recipe and the first.

    A recipe has luck with each image; each of several runs of it has noise beside that.
    """

    def run(luck: np.ndarray) -> np.ndarray:
        noise = draws.standard_normal((n_seeds, N_IMAGES)) / 2 if n_seeds > 1 else 0.0
        return luck[None] + noise

    best = draws.standard_normal(N_IMAGES)
    first = best_runs = run(best)
    for _ in range(N_RECIPES):
        luck = stays * best + np.sqrt(1 - stays**2) * draws.standard_normal(N_IMAGES)
        runs = run(luck)
        if runs.mean() > best_runs.mean():
            best, best_runs = luck, runs
    if best_runs is first:
        return 1.0, 1.0, 1.0
    intervals = crossed_intervals(best_runs - first)
    ps = correct_for_wear(intervals, Plan.once(n_seeds), N_RECIPES)
    return tuple(1.0 if p is None else p for p in ps)
