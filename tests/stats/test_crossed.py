"""Intervals over seeds and images against a slow version, McNemar's test and simulated truth."""

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar

from cifarlab.stats.crossed import CrossedIntervals, crossed_intervals

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


@pytest.mark.parametrize("stds", [(1.0, 2.0, 1.0), (0.0, 0.0, 1.0), (3.0, 0.1, 0.1)])
def test_the_intervals_are_those_of_the_analysis_of_variance(stds) -> None:
    values = made(0, 4, 30, stds) + 0.5
    of_seeds, of_images, of_rest = slow(values)
    total = max(of_seeds + of_images - of_rest, of_seeds, of_images)
    parts = of_seeds**2 / 3 + of_images**2 / 29 + of_rest**2 / 87
    widths = [
        t.ppf(0.975, 3) * math.sqrt(of_seeds / 120),
        Z * math.sqrt(of_images / 120),
        t.ppf(0.975, max(3, total**2 / parts)) * math.sqrt(total / 120),
    ]
    result = crossed_intervals(values)
    assert (result.n_seeds, result.n_images) == (4, 30)
    for interval, width in zip(result[3:], widths, strict=True):
        assert interval == pytest.approx((values.mean() - width, values.mean() + width), abs=1e-6)


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
    assert z**2 == pytest.approx(theirs / (1 - theirs / n), rel=1e-5)


def test_two_sources_are_more_than_each() -> None:
    for seed in range(50):
        result = crossed_intervals(made(seed, 3, 20, (0.3, 1.0, 2.0)))
        widths = [high - low for low, high in result[3:]]
        assert widths[2] >= widths[1] * 0.9999
        # fewer degrees of freedom are the seeds' own: their interval may be the wider one
        halves = [width / 2 / t.ppf(0.975, 2) for width in (widths[0], widths[2])]
        assert widths[2] >= halves[0] * 2 * Z and widths[2] <= math.hypot(*widths[:2]) * 3


def test_without_any_luck_there_is_no_width() -> None:
    result = crossed_intervals(np.full((3, 8), 0.25))
    assert all(interval == (0.25, 0.25) for interval in result[3:])
    by_image = np.tile(np.arange(8.0), (3, 1))  # runs alike: seeds add nothing
    result = crossed_intervals(by_image)
    assert result.seeds == (3.5, 3.5) and result.seeds_and_images[1] > 3.5
    by_seed = np.tile(np.arange(3.0)[:, None], (1, 8))  # images alike
    result = crossed_intervals(by_seed)
    assert result.images == (1.0, 1.0) and result.seeds_and_images == pytest.approx(result.seeds)


def covered(result: CrossedIntervals, truths: tuple[float, float, float]) -> np.ndarray:
    return np.array(
        [low <= truth <= high for (low, high), truth in zip(result[3:], truths, strict=True)]
    )


@pytest.mark.parametrize(
    ("n_seeds", "n_images", "stds"),
    [(3, 200, (0.05, 1.0, 1.0)), (5, 200, (0.1, 0.5, 1.0)), (10, 60, (0.3, 1.0, 2.0))],
)
def test_each_covers_the_answer_to_its_question(n_seeds, n_images, stds) -> None:
    """The truth for these images has their luck in it, that for these runs the seeds' luck."""
    draws, n_repeats, total = np.random.default_rng(0), 1_500, np.zeros(3)
    for _ in range(n_repeats):
        by_seed = draws.normal(0, stds[0], (n_seeds, 1))
        by_image = draws.normal(0, stds[1], (1, n_images))
        rest = draws.normal(0, stds[2], (n_seeds, n_images))
        truths = by_image.mean(), by_seed.mean(), 0.0
        total += covered(crossed_intervals(by_seed + by_image + rest), truths)
    assert np.all(total / n_repeats >= 0.93) and np.all(total[:2] / n_repeats <= 0.97)
    assert total[2] / n_repeats <= 0.985  # a negative estimate of a variance counts as none
