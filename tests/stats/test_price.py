"""Prices against the power of the ordinary test, and against studies played pair by pair."""

import numpy as np
import pytest

from cifarlab.stats.paired import power
from cifarlab.stats.price import price
from cifarlab.stats.sequential import Plan, equivalence_p, sequential_p

TEN = Plan.up_to(10)


@pytest.mark.parametrize(("n", "effect"), [(3, 2.0), (5, 1.5), (10, 0.5)])
def test_one_look_has_the_power_of_the_ordinary_test(n: int, effect: float) -> None:
    quoted = price(0.004, 0.004 * effect, Plan.once(n))
    assert quoted.pairs == n
    assert quoted.chance == pytest.approx(power(effect, n), abs=0.025)


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
    assert price(1.0, 1e6, TEN, n_before=7).pairs == 7
    assert price(1.0, 0.0, TEN, n_before=10).pairs == 10


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
