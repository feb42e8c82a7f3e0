"""The intervals over seeds, images and both against simulated truth."""

import math

import numpy as np
import pytest

from cifarlab.stats.crossed import crossed_intervals


def coverages(n_seeds: int, seeds: float, images: float, rest: float) -> np.ndarray:
    """How often each interval holds its truth: these images, these runs, the mean of all."""
    draw, n_images, n_studies = np.random.default_rng(7), 100, 1500
    n_inside = np.zeros(3)
    for _ in range(n_studies):
        seed = draw.normal(0, math.sqrt(seeds * n_seeds), (n_seeds, 1))
        image = draw.normal(0, math.sqrt(images * n_images), n_images)
        noise = draw.standard_normal((n_seeds, n_images))
        differences = seed + image + math.sqrt(rest * noise.size) * noise
        intervals = crossed_intervals(differences)
        for number, truth in enumerate((image.mean(), seed.mean(), 0.0)):
            low, high = intervals[3 + number]
            n_inside[number] += low <= truth <= high
    return n_inside / n_studies


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize(
    "variances",  # of the mean: by seeds, by images, by the rest
    [(0, 0, 1), (1, 0, 0.01), (0, 1, 0.01), (1, 1, 1), (0, 1, 1), (0, 0.3, 1), (0.1, 3, 0.1)],
)
def test_each_interval_covers_its_truth_in_95_percent(n_seeds, variances):
    for coverage in coverages(n_seeds, *variances):
        assert 0.93 <= coverage <= 0.97  # the Monte Carlo error is 0.0056


def test_two_seeds_are_covered_too():
    """The approximation alone covers 90 % here; the interval over seeds is wider then."""
    assert coverages(2, 1, 1, 1)[2] >= 0.94


def test_right_and_wrong_answers_are_covered():
    """Two recipes of 90 and 91 %, images that are easy or hard, and a seed's own skill."""
    draw, n_inside, n_studies = np.random.default_rng(1), 0, 1000
    n_images, n_seeds, gain = 400, 4, 0.12

    def chances(skill: np.ndarray, seed: np.ndarray, recipe: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(skill + recipe + seed)))

    population = draw.normal(3, 1.5, 200_000), draw.normal(0, 0.5, 200_000)
    luck = draw.normal(0, 0.1, (2, 200_000))
    truth = float(
        (
            chances(population[0], luck[0], gain + population[1])
            - chances(population[0], luck[1], 0)
        ).mean()
    )
    for _ in range(n_studies):
        skill, taste = draw.normal(3, 1.5, n_images), draw.normal(0, 0.5, n_images)
        seeds = draw.normal(0, 0.1, (2, n_seeds, 1))
        ours = chances(skill, seeds[0], gain + taste)
        base = chances(skill, seeds[1], np.zeros(n_images))
        right = [draw.random(p.shape) < p for p in (ours, base)]
        intervals = crossed_intervals(right[0].astype(float) - right[1])
        low, high = intervals.seeds_and_images
        n_inside += low <= truth <= high
    assert 0.93 <= n_inside / n_studies <= 0.97


def test_few_and_equal_values():
    pair = crossed_intervals(np.array([[0.0, 1.0, 1.0, 0.0]]))
    assert pair.seeds is pair.seeds_and_images is None and pair.images[0] < 0.5 < pair.images[1]
    assert len(pair.tests) == 1
    equal = crossed_intervals(np.zeros((3, 5)))
    assert equal.tests == () and equal.p_value() is None and equal.seeds == (0, 0)
    same_seeds = crossed_intervals(np.tile([0.0, 1.0, 0.0, 1.0], (3, 1)))  # no luck of seeds
    assert same_seeds.seeds == (0.5, 0.5) and same_seeds.seeds_and_images == pytest.approx(
        same_seeds.images
    )
    assert crossed_intervals(np.eye(3), level=None).seeds is None


def test_a_smaller_level_is_a_wider_interval_over_seeds_alone():
    differences = np.random.default_rng(0).normal(0, 1, (4, 30))
    wide, narrow = (crossed_intervals(differences, level) for level in (0.01, 0.05))
    assert wide.seeds[0] < narrow.seeds[0] and wide.images == narrow.images
    assert wide.seeds_and_images[1] > narrow.seeds_and_images[1]


def test_both_is_never_narrower_than_seeds():
    draw = np.random.default_rng(5)
    for _ in range(50):
        differences = draw.normal(0, 1, (3, 40)) + draw.normal(0, draw.random(), 40)
        intervals = crossed_intervals(differences)
        assert intervals.seeds_and_images[0] <= intervals.seeds[0]
