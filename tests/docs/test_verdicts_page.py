"""The figures of docs/verdicts.md are those that the statistics give."""

import re
from pathlib import Path

import pytest
from statsmodels.stats.power import ttest_power

from cifarlab.stats.price import price
from cifarlab.stats.sequential import Plan

PAGE = Path(__file__).parents[2] / "docs" / "verdicts.md"
ROWS = re.findall(
    r"^\| (\d+) \| ([\d.]+) \| (\d+) % \| ([\d.]+) \| (\d+) % \|$",
    PAGE.read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_table_of_limits_is_there() -> None:
    assert [int(row[0]) for row in ROWS] == [5, 10, 20]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_of_limits_is_computed(row: tuple[str, ...]) -> None:
    most, limit, chance, seeds, at_once = map(float, row)
    plan = Plan.up_to(int(most))
    assert plan.limits(3)[3] == pytest.approx(limit, abs=0.00006)
    quoted = price(1.0, 1.5, plan)
    assert 100 * quoted.chance == pytest.approx(chance, abs=1.0)
    assert quoted.pairs == pytest.approx(seeds, abs=0.1)
    assert 100 * ttest_power(1.5, int(most), 0.05) == pytest.approx(at_once, abs=0.51)


def test_so_many_differences_are_missed() -> None:
    """0.2 points whose pairs vary by 0.4 points."""
    assert ttest_power(0.5, 3, 0.05) == pytest.approx(0.1, abs=0.02)
