"""Levels of a book of claims: they add up, acceptances pay back, false discoveries stay rare."""

import numpy as np
import pytest

from cifarlab.stats.online_fdr import next_level


def test_the_levels_of_a_book_that_accepts_nothing_add_up_to_the_error() -> None:
    levels = [next_level(n, 0) for n in range(2_000)]
    assert levels[0] == pytest.approx(0.00586, abs=1e-5)
    assert levels == sorted(levels, reverse=True)
    rest = 0.05 / 1.06584 * 2 / np.sqrt(2_003.5)  # an integral from the next claim on
    assert sum(levels) + rest == pytest.approx(0.05, rel=1e-3)


def test_an_acceptance_pays_for_later_claims() -> None:
    nothing, once, twice = (next_level(9, n) for n in range(3))
    assert (once, twice) == pytest.approx((2 * nothing, 3 * nothing))
    assert next_level(10_000, 10_000, alpha=1.0) <= 1.0


@pytest.mark.parametrize(("fraction", "least_power"), [(0.0, 0.0), (0.2, 0.6), (0.8, 0.9)])
def test_false_discoveries_stay_below_5_percent(fraction: float, least_power: float) -> None:
    """300 books of 60 claims, of which a fraction is real, each found by p values around 1e-4."""
    draws, falses, powers, careless = np.random.default_rng(0), [], [], []
    for _ in range(300):
        real = draws.random(60) < fraction
        ps = np.where(real, draws.random(60) ** 8 / 100, draws.random(60))
        accepted: list[bool] = []
        for p in ps:
            accepted.append(bool(p <= next_level(len(accepted), sum(accepted))))
        taken = np.array(accepted)
        falses.append((taken & ~real).sum() / max(1, taken.sum()))
        powers.append(taken[real].mean() if real.any() else 1.0)
        careless.append(((ps <= 0.05) & ~real).sum() / max(1, (ps <= 0.05).sum()))
    assert np.mean(falses) <= 0.05 + 3 * np.std(falses) / np.sqrt(300)
    assert np.mean(powers) >= least_power
    assert fraction > 0.5 or np.mean(careless) > 0.1
