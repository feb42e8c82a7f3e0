"""The intervals over seeds, images and both against simulated truth."""

import math

import numpy as np
import pytest

from cifarlab.stats.crossed import crossed_intervals
from cifarlab.stats.sequential import Plan


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


def test_a_plan_without_a_look_leaves_a_pair_its_interval():
    pair = crossed_intervals(np.array([[0.0, 1.0, 1.0, 0.0]]))
    assert pair.seeds is pair.seeds_and_images is None and pair.images[0] < 0.5 < pair.images[1]
    assert len(pair.tests) == 1 and pair == crossed_intervals(np.array([[0.0, 1, 1, 0]]), None)
    none = crossed_intervals(np.triu(np.ones((2, 3))), level=None)
    assert none.seeds is none.images is none.seeds_and_images is None and none.tests


def test_a_smaller_level_is_a_wider_interval():
    differences = np.random.default_rng(0).normal(0, 1, (4, 30))
    wide, narrow = (crossed_intervals(differences, level) for level in (0.01, 0.05))
    for question in ("seeds", "images", "seeds_and_images"):
        (low, high), (inner_low, inner_high) = (getattr(x, question) for x in (wide, narrow))
        assert low < inner_low < inner_high < high


@pytest.mark.parametrize("variances", [(0, 0, 1), (1, 1, 1), (0, 0.3, 1)])
def test_the_interval_over_images_holds_at_all_looks_of_a_plan(variances):
    """Three to ten pairs: at the usual 5 % each, it misses at some look in 11 to 15 %."""
    draw, n_studies, n_missed = np.random.default_rng(6), 400, np.zeros(2)
    seeds, images, rest = (math.sqrt(variance) for variance in variances)
    levels = Plan.up_to(10).limits(10)[10], 0.05
    for _ in range(n_studies):
        seed, image = draw.normal(0, seeds * 2.2, (10, 1)), draw.normal(0, images * 7.7, 60)
        differences = seed + image + draw.normal(0, rest * 17.3, (10, 60))
        for column, level in enumerate(levels):
            at_each = ((seed[:n].mean(), differences[:n]) for n in range(3, 11))
            inside = [
                low <= truth <= high
                for truth, values in at_each
                for low, high in [crossed_intervals(values, level).images]
            ]
            n_missed[column] += not all(inside)
    assert n_missed[0] / n_studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_studies)
    assert n_missed[1] / n_studies > 0.07


def test_both_is_never_narrower_than_seeds():
    draw = np.random.default_rng(5)
    for _ in range(50):
        differences = draw.normal(0, 1, (3, 40)) + draw.normal(0, draw.random(), 40)
        intervals = crossed_intervals(differences)
        assert intervals.seeds_and_images[0] <= intervals.seeds[0]
