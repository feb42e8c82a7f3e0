"""Useless recipes chosen on one set of test images: what the corrections keep, and what they don't.

A recipe has a systematic effect on each image, which is zero in the mean over all images like
these, and each run a seed's effect and noise. Somebody tries recipes, looks at their means on the
same images, and claims that the last one kept is better for other seeds and other images.
"""

import numpy as np
import pytest

from cifarlab.stats.crossed import crossed_intervals

N_STUDIES, N_SEEDS, N_IMAGES, N_TRIED = 400, 4, 300, 20


def runs_of(effects: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Scores (S, N) of the runs of a recipe with these effects on the images (N,)."""
    seeds = draw.normal(0, 0.02, (N_SEEDS, 1))
    return effects + seeds + draw.normal(0, 0.5, (N_SEEDS, N_IMAGES))


def claims(is_hill_climbing: bool, rng_seed: int) -> dict[str, float]:
    """The fraction of studies that claim a difference, without correction and with each."""
    draw = np.random.default_rng(rng_seed)
    ps = []
    for _ in range(N_STUDIES):
        effects = np.zeros(N_IMAGES)
        first = best = runs_of(effects, draw)
        for _ in range(N_TRIED):
            start = effects if is_hill_climbing else np.zeros(N_IMAGES)
            new = start + draw.normal(0, 0.7, N_IMAGES)
            candidate = runs_of(new, draw)
            if candidate.mean() > best.mean():
                effects, best = new, candidate
        if best is first:  # nothing looked better
            ps.append((1.0, 1.0, 1.0, 1.0))
            continue
        intervals = crossed_intervals(best - first)
        p, few, built = (intervals.p_value(n) for n in (1, N_TRIED // 4, N_TRIED))
        ps.append((p, N_TRIED * p, few, built))
    fractions = (np.array(ps) < 0.05).mean(axis=0).tolist()
    return dict(zip(("plain", "listed", "built of a quarter", "built"), fractions, strict=True))


def test_the_best_of_a_list_is_claimed_falsely_at_most_so_often_with_either_correction():
    result = claims(is_hill_climbing=False, rng_seed=1)
    assert result["plain"] > 0.3  # without a correction
    assert result["listed"] <= 0.05 and result["built"] <= 0.05


def test_steps_built_on_each_other_need_the_wider_correction():
    result = claims(is_hill_climbing=True, rng_seed=2)
    assert result["plain"] > 0.5
    assert result["listed"] > 0.1  # Bonferroni counts recipes, not the ways to put them together
    assert result["built"] <= 0.05
    assert result["built of a quarter"] > 0.05  # it overpays here, but less than four times


def test_one_recipe_needs_no_correction():
    draw = np.random.default_rng(3)
    intervals = crossed_intervals(draw.normal(0.1, 1, (4, 50)))
    assert intervals.p_value(1) == intervals.p_value()
    assert intervals.p_value(1) < intervals.p_value(2) < intervals.p_value(20)


def test_scheffe_by_his_own_formula():
    from scipy.stats import f, t

    intervals = crossed_intervals(np.random.default_rng(4).normal(0.2, 1, (5, 40)))
    ps = [2 * t.sf(abs(value), freedom) for value, freedom in intervals.tests]
    assert intervals.p_value() == pytest.approx(max(ps))
    # Scheffé 1953: t squared has to be beyond this
    is_beyond = [a**2 > 7 * f.isf(intervals.p_value(7) * 1.01, 7, b) for a, b in intervals.tests]
    assert any(is_beyond) and intervals.p_value(7) > intervals.p_value()
