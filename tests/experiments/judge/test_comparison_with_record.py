"""New runs against a record's: how often a true one is called false, also after an early stop."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from cifarlab.experiments.judge.checking import N_SEEDS
from cifarlab.experiments.judge.rules import compare_with_record
from cifarlab.stats.online_fdr import next_level
from cifarlab.stats.sequential import Plan, first_rejections

PAGE = Path(__file__).parents[3] / "docs" / "judge.md"
ROWS = re.findall(
    r"^\| ([\d.]+) \| ([\d.]+) % \| (\d+) % \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
)
N_CHECKS = 1500


def holds(recorded: np.ndarray, values: np.ndarray, level: float = 0.05) -> bool:
    return compare_with_record("made", recorded.tolist(), values.tolist(), level)[0]


@pytest.mark.parametrize("n_recorded", [1, 3, 8])
def test_it_is_the_t_test_of_two_samples(n_recorded: int) -> None:
    draws = np.random.default_rng(n_recorded)
    n_rejected = 0
    for _ in range(N_CHECKS):
        recorded, values = draws.normal(0, 1, n_recorded), draws.normal(0, 1, 3)
        n_rejected += not holds(recorded, values)
        if n_recorded > 1:
            p = ttest_ind(recorded, values).pvalue
            assert holds(recorded, values, 0.98 * p) and not holds(recorded, values, 1.02 * p)
    error = (0.05 * 0.95 / N_CHECKS) ** 0.5
    assert n_rejected / N_CHECKS == pytest.approx(0.05, abs=3 * error)


def test_values_without_a_spread_are_the_same_or_not() -> None:
    same = compare_with_record("made", [0.1 + 0.2] * 3, [0.3] * 3, 0.05)
    assert same == (True, "made 0.3, expected 0.3 to 0.3")
    assert not compare_with_record("made", [0.3] * 3, [0.31] * 3, 0.05)[0]


def test_the_page_has_a_table_of_true_and_false_records() -> None:
    assert [float(row[0]) for row in ROWS] == [0, 0.5, 1, 1.5, 2, 3]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_records_of_races_that_stopped_early(row: tuple[str, ...]) -> None:
    """The first claim of a book, accepted; then the check. The figures of docs/judge.md."""
    effect, accepted, called_false = float(row[0]), float(row[1]) / 100, float(row[2]) / 100
    draws, plan = np.random.default_rng(3), Plan.up_to(10)
    races = draws.normal(effect, 1, (int(N_CHECKS / accepted), plan.most))
    ends = first_rejections(races, plan, 0.0, "greater", next_level(0, 0))
    assert (ends > 0).mean() == pytest.approx(accepted, rel=0.1)
    n_false = sum(
        not holds(race[:n], draws.normal(effect, 1, N_SEEDS))
        for race, n in zip(races[ends > 0], ends[ends > 0], strict=True)
    )
    error = (called_false * (1 - called_false) / N_CHECKS) ** 0.5
    assert n_false / (ends > 0).sum() == pytest.approx(called_false, abs=3 * error + 0.005)
