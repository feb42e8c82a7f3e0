"""Intervals over seeds and images against a slow version, Student's and McNemar's tests."""

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar

from cifarlab.stats.crossed import crossed_intervals


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


@pytest.mark.parametrize("stds", [(0.05, 3.0, 1.0), (3.0, 0.3, 0.1)])
def test_the_intervals_are_those_of_the_analysis_of_variance(stds) -> None:
    values = made(0, 4, 200, stds) + 0.5
    of_seeds, of_images, of_rest = slow(values)
    total = of_seeds + of_images - of_rest
    parts = of_seeds**2 / 3 + of_images**2 / 199 + of_rest**2 / 597
    result = crossed_intervals(values)
    assert (result.n_seeds, result.n_images) == (4, 200)
    errors = {"seeds": (3, of_seeds), "images": (199, of_images)}
    errors["seeds_and_images"] = (max(3, total**2 / parts), total)
    half_widths = {
        name: t.ppf(0.975, freedom) * math.sqrt(square / 800)
        for name, (freedom, square) in errors.items()
    }
    half_widths["seeds_and_images"] = max(half_widths["seeds_and_images"], half_widths["seeds"])
    for name, half_width in half_widths.items():
        low, high = getattr(result, name)
        assert (low + high) / 2 == pytest.approx(values.mean())
        assert (high - low) / 2 == pytest.approx(half_width)
    ps = [2 * t.sf(abs(statistic), freedom) for statistic, freedom in result.tests]
    assert result.p_value() == pytest.approx(max(ps)) and ps[0] == pytest.approx(
        ttest_1samp(values.mean(axis=1), 0).pvalue
    )


def test_over_seeds_it_is_student_s_test_of_the_pairs() -> None:
    values = made(1, 5, 40, (1.0, 1.0, 1.0))
    theirs = ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert crossed_intervals(values).seeds == pytest.approx(tuple(theirs))


def test_of_one_pair_of_runs_it_is_mcnemar_s_test() -> None:
    n, gained, lost = 500, 30, 14
    values = np.repeat([1.0, -1.0, 0.0], [gained, lost, n - gained - lost])[None]
    result = crossed_intervals(values)
    assert result.seeds is None and result.seeds_and_images is None
    ((value, freedom),) = result.tests
    # McNemar's variance is that without a difference, this one that with the difference seen
    theirs = mcnemar([[0, gained], [lost, 0]], exact=False, correction=False).statistic
    assert value**2 * n / (n - 1) == pytest.approx(theirs / (1 - theirs / n))
    assert freedom == n - 1


@pytest.mark.parametrize("value", [0.0, 0.1, 0.25])
def test_without_any_luck_there_is_no_interval_and_no_test(value: float) -> None:
    """0.1 is no fraction in binary: its means differ in their last digits."""
    result = crossed_intervals(np.full((3, 7), value))
    assert result.seeds is result.images is result.seeds_and_images is result.p_value() is None
    assert crossed_intervals(np.full((1, 7), value)).images is None


def test_pairs_that_agree_by_luck_say_nothing_of_other_seeds() -> None:
    gained = np.zeros((3, 100))
    for seed, images in enumerate(gained):
        images[np.random.default_rng(seed).choice(100, 10, replace=False)] = 1
    result = crossed_intervals(gained)
    assert result.seeds is result.seeds_and_images is result.p_value() is None
    assert result.images[0] < 0.1 < result.images[1]
    by_seed = crossed_intervals(np.tile(np.arange(3.0)[:, None], (1, 8)))  # images alike
    assert by_seed.images is None and by_seed.seeds_and_images == pytest.approx(by_seed.seeds)


def test_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="one image says nothing of others"):
        crossed_intervals(np.array([[1.0], [0.0], [1.0]]))
