"""Intervals over seeds and images against a slow version, Student's and McNemar's tests."""

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar

from cifarlab.stats.crossed import crossed_intervals

Z = 1.959964


def made(seed: int, n_seeds: int, n_images: int, stds: tuple[float, float, float]) -> np.ndarray:
    """Differences (S, N) with normal effects of seeds, images and both, without a mean."""
    draws = np.random.default_rng(seed)
    by_seed = draws.normal(0, stds[0], (n_seeds, 1))
    by_image = draws.normal(0, stds[1], (1, n_images))
    return by_seed + by_image + draws.normal(0, stds[2], (n_seeds, n_images))


def slow(values: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of seeds, images and rest of a two-way table, sum by sum."""
    n_seeds, n_images = values.shape
    mean = sum(map(sum, values)) / values.size
    rows = [sum(row) / n_images for row in values]
    columns = [sum(column) / n_seeds for column in values.T]
    rest = sum(
        (values[s, i] - rows[s] - columns[i] + mean) ** 2
        for s in range(n_seeds)
        for i in range(n_images)
    )
    return (
        n_images * sum((row - mean) ** 2 for row in rows) / (n_seeds - 1),
        n_seeds * sum((column - mean) ** 2 for column in columns) / (n_images - 1),
        rest / (n_seeds - 1) / (n_images - 1),
    )


@pytest.mark.parametrize("stds", [(1.0, 2.0, 1.0), (0.5, 5.0, 1.0), (3.0, 0.3, 0.1)])
def test_the_intervals_are_those_of_the_analysis_of_variance(stds) -> None:
    values = made(0, 4, 200, stds) + 0.5
    of_seeds, of_images, of_rest = slow(values)
    total = of_seeds + of_images - of_rest
    parts = of_seeds**2 / 3 + of_images**2 / 199 + of_rest**2 / 597
    result = crossed_intervals(values)
    assert (result.n_seeds, result.n_images) == (4, 200)
    for (low, high), freedom, square in (
        (result.seeds, 3, of_seeds),
        (result.images, 199, of_images),
        (result.seeds_and_images, max(3, total**2 / parts), total),
    ):
        assert (low + high) / 2 == pytest.approx(values.mean())
        half_width = t.ppf(0.975, freedom) * math.sqrt(square / 800)
        assert (high - low) / 2 == pytest.approx(half_width, rel=0.01)  # of images: t or normal


def test_over_seeds_it_is_student_s_test_of_the_pairs() -> None:
    values = made(1, 5, 40, (1.0, 1.0, 1.0))
    theirs = ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert crossed_intervals(values).seeds == pytest.approx(tuple(theirs))


def test_of_one_pair_of_runs_it_is_mcnemar_s_test() -> None:
    n, gained, lost = 500, 30, 14
    values = np.repeat([1.0, -1.0, 0.0], [gained, lost, n - gained - lost])[None]
    result = crossed_intervals(values)
    assert result.seeds is None and result.seeds_and_images is None
    z = result.mean / ((result.images[1] - result.mean) / Z) * math.sqrt(n / (n - 1))
    # McNemar's variance is that without a difference, this one that with the difference seen
    theirs = mcnemar([[0, gained], [lost, 0]], exact=False, correction=False).statistic
    assert z**2 == pytest.approx(theirs / (1 - theirs / n), rel=0.01)


def test_without_any_luck_there_is_no_width() -> None:
    result = crossed_intervals(np.full((3, 8), 0.25))
    assert result.seeds == result.images == result.seeds_and_images == (0.25, 0.25)
    by_image = np.tile(np.arange(8.0), (3, 1))  # runs alike: seeds add nothing
    result = crossed_intervals(by_image)
    assert result.seeds == (3.5, 3.5) and result.seeds_and_images[1] > 3.5
    by_seed = np.tile(np.arange(3.0)[:, None], (1, 8))  # images alike
    result = crossed_intervals(by_seed)
    assert result.images == (1.0, 1.0) and result.seeds_and_images == pytest.approx(result.seeds)
