"""Prices against the power of the ordinary test, and against studies played pair by pair."""

import numpy as np
import pytest
from statsmodels.stats.power import ttest_power

from cifarlab.stats.price import price
from cifarlab.stats.sequential import Plan, equivalence_p, first_rejections, sequential_p

TEN = Plan.up_to(10)


@pytest.mark.parametrize(("n", "effect"), [(3, 2.0), (5, 1.5), (10, 0.5)])
def test_one_look_has_the_power_of_the_ordinary_test(n: int, effect: float) -> None:
    quoted = price(0.004, 0.004 * effect, Plan.once(n))
    assert quoted.pairs == n
    assert quoted.chance == pytest.approx(ttest_power(effect, n, 0.05), abs=0.025)


def test_the_price_of_a_large_difference() -> None:
    quoted = price(1.0, 1.5, TEN)
    assert quoted.pairs == pytest.approx(6.3, abs=0.1)
    assert quoted.chance == pytest.approx(0.93, abs=0.02)
    assert price(1.0, 1e6, TEN) == (3.0, 1.0)
    stricter = price(1.0, 1.5, TEN, level=0.05 / 9)
    assert stricter.pairs > quoted.pairs and stricter.chance < quoted.chance
    assert price(2.0, 3.0, TEN) == pytest.approx(quoted)  # only the ratio counts
    assert price(1.0, -1.5, TEN) == pytest.approx(quoted, abs=0.1)


def test_without_a_difference_only_a_margin_decides() -> None:
    assert price(0.002, 0.0, TEN).chance == pytest.approx(0.05, abs=0.011)
    near, wide = (price(0.002, 0.0, TEN, margin) for margin in (0.002, 0.006))
    assert wide.chance > 0.99 and wide.pairs < near.pairs < 10


def test_pairs_that_are_there_are_paid() -> None:
    assert price(1.0, 1e6, TEN, seen=[1.0, -2.0] * 3) == (10, 0.0)  # too wide for the rest
    sure = [1.0, 1.001, 0.999, 1.0002]
    assert price(1.0, 1.0, TEN, seen=sure) == (4, 1.0)  # they have decided
    assert price(1.0, 0.0, TEN, seen=[1.0, -2.0] * 6) == (10, 0.0)  # nothing is left to draw


def test_a_price_at_resume_is_that_of_studies_that_are_still_open() -> None:
    """Before the first run they are decided with 62 %: those that were, are not resumed."""
    studies = np.random.default_rng(4).normal(1.0, 1.0, (4_000, 10))
    ends = first_rejections(studies, TEN)
    is_open = (ends == 0) | (ends > 7)
    assert (ends > 0).mean() == pytest.approx(0.62, abs=0.02)
    assert (ends[is_open] > 0).mean() == pytest.approx(0.40, abs=0.03)
    quotes = [price(1.0, 1.0, TEN, seen=study[:7].tolist()) for study in studies[is_open][:40]]
    pairs, chance = np.mean(quotes, axis=0)
    assert chance == pytest.approx((ends[is_open][:40] > 0).mean(), abs=0.15)
    assert chance == pytest.approx(0.40, abs=0.12) and pairs == pytest.approx(9.6, abs=0.2)


@pytest.mark.parametrize("difference", [0.0, 0.5, 2.0])
def test_it_is_what_studies_take_that_are_played_pair_by_pair(difference: float) -> None:
    ends, margin = [], 1.5
    for study in np.random.default_rng(9).normal(difference, 1.0, (400, 10)).tolist():
        looks = (
            n
            for n in range(3, 11)
            if sequential_p(study[:n], TEN) <= 0.05 or equivalence_p(study[:n], TEN, margin) <= 0.05
        )
        ends.append(next(looks, 11))
    quoted = price(1.0, difference, TEN, margin)
    assert quoted.chance == pytest.approx(np.mean(np.less(ends, 11)), abs=0.06)
    assert quoted.pairs == pytest.approx(np.minimum(ends, 10).mean(), abs=0.4)
