"""What a table concludes: known truths, and reasons for everything that is missing."""

import numpy as np
import pytest

from cifarlab.experiments.study.comparison import Outcome, compare
from cifarlab.stats.sequential import Plan
from cifarlab.system.errors import UserError


def runs(row, accuracies, **other):
    """Outcomes of a row with these test accuracies by seed 0, 1, 2, ..."""
    return [
        Outcome(row, seed, f"{row}-{seed}", "CIFAR-10", test=value)._replace(**other)
        for seed, value in enumerate(accuracies)
    ]


def line(comparison, row):
    return next(line for line in comparison.rows if line.name == row)


BASE = [0.900, 0.904, 0.896, 0.901, 0.899]
NOISE = [0.0005, -0.0005, 0.0003, -0.0002, 0.0001]


def shifted(by):
    return [a + by + e for a, e in zip(BASE, NOISE, strict=True)]


def table(*groups, **other):
    rows = list(dict.fromkeys(o.row for group in groups for o in group))
    return compare(
        "t", rows, rows[0], [o for group in groups for o in group], plan=Plan.once(5), **other
    )


def test_better_worse_and_neither():
    comparison = table(
        runs("base", BASE),
        runs("up", shifted(0.01)),
        runs("down", shifted(-0.01)),
        runs("same", shifted(0.0)),
    )
    assert [each.verdict for each in comparison.rows[:3]] == ["the baseline", "better", "worse"]
    same = line(comparison, "same")
    assert same.verdict == "undecided" and same.p > 0.05 and same.same_p is None
    assert line(comparison, "up").pairs.difference.mean == pytest.approx(0.01004)
    assert line(comparison, "up").p == pytest.approx(3 * line(comparison, "up").pairs.p, rel=0.5)
    assert comparison.split == "test" and comparison.data == "CIFAR-10"
    assert "corrected for 3 comparisons" in comparison.notes[0]


def test_one_real_difference_among_many_rows_needs_more_than_five_percent():
    """What is significant alone need not be so in a table of many."""
    draw = np.random.default_rng(3)
    ours = [a + 0.004 + e for a, e in zip(BASE, [0.003, -0.003, 0.002, -0.001, 0.001], strict=True)]
    alone = line(table(runs("base", BASE), runs("ours", ours)), "ours")
    assert alone.verdict == "better" and alone.p == alone.pairs.p < 0.05
    others = [
        runs(f"r{k}", [a + e for a, e in zip(BASE, draw.normal(0, 0.003, 5), strict=True)])
        for k in range(9)
    ]
    among = line(table(runs("base", BASE), runs("ours", ours), *others), "ours")
    assert among.p > 0.05 and among.verdict == "undecided"


def test_two_equal_recipes_are_no_difference():
    recipe = [f"same-{seed}" for seed in range(5)]
    base = [o._replace(fingerprint=f) for o, f in zip(runs("base", BASE), recipe, strict=True)]
    twins = [o._replace(row="again") for o in base]
    assert line(table(base, twins), "again").verdict == (
        "no difference: the same recipe as the baseline"
    )
    # another recipe may still give the very same accuracies
    twin = line(table(base, runs("twin", BASE)), "twin")
    assert twin.verdict == "the same: equal in every pair" and twin.p is None


def test_a_difference_without_spread_is_reported_and_not_tested():
    row = line(table(runs("base", BASE), runs("up", [a + 0.0030 for a in BASE])), "up")
    assert row.verdict == "+0.30 points in every pair: without spread, no test"
    assert row.p is None and not row.is_decided


def test_one_seed():
    comparison = table(runs("base", BASE[:1]), runs("up", [0.95]))
    up = line(comparison, "up")
    assert up.verdict == "one pair of runs: no test is possible"
    assert up.summary == (1, 0.95, None, None)
    assert up.pairs.difference.mean == pytest.approx(0.05)
    assert any("One seed per row" in note for note in comparison.notes)


def test_pairs_are_the_seeds_in_common():
    fewer = [o for o in runs("fewer", shifted(0.01)) if o.seed in (1, 3, 4)]
    comparison = table(runs("base", BASE), fewer)
    assert line(comparison, "fewer").pairs.difference.n == 3
    expected = np.mean([shifted(0.01)[s] - BASE[s] for s in (1, 3, 4)])
    assert line(comparison, "fewer").pairs.difference.mean == pytest.approx(expected)
    assert "Not all rows have the same number of runs: base 5, fewer 3." in comparison.notes[0]


def test_no_seed_in_common():
    apart = [o._replace(seed=o.seed + 10) for o in runs("apart", BASE)]
    row = line(table(runs("base", BASE), apart), "apart")
    assert row.verdict == "no seed in common with the baseline: not compared"
    assert row.pairs is None and row.summary.n == 5


def test_failed_runs_are_named_and_the_others_compared():
    lost = [o._replace(test=None, data="", failure="DivergenceError: NaN") for o in runs("x", BASE)]
    partly = [*runs("partly", shifted(0.01))[:3], *(o._replace(row="partly") for o in lost[3:])]
    comparison = table(runs("base", BASE), lost, partly)
    assert (
        line(comparison, "x").verdict == "no run finished" and line(comparison, "x").summary is None
    )
    assert line(comparison, "partly").verdict == "better"
    assert "x, seed 0, 1, 2, 3, 4: DivergenceError: NaN." in comparison.notes
    assert "partly, seed 3, 4: DivergenceError: NaN." in comparison.notes


def test_a_baseline_that_failed_leaves_the_accuracies():
    lost = [o._replace(test=None, data="", failure="lost") for o in runs("base", BASE)]
    comparison = table(lost, runs("up", BASE))
    assert line(comparison, "up").summary.n == 5 and comparison.data == "CIFAR-10"
    assert line(comparison, "up").verdict == "no seed in common with the baseline: not compared"


def test_other_data_are_not_compared():
    comparison = table(runs("base", BASE), runs("other", BASE, data="CIFAR-100"))
    assert line(comparison, "other").verdict == "measured on other data than CIFAR-10: not compared"
    assert line(comparison, "other").pairs is None


def test_validation_where_one_run_kept_its_test_split_closed():
    base = [o._replace(val=o.test + 0.01) for o in runs("base", BASE)]
    up = [o._replace(val=o.test + 0.02) for o in runs("up", shifted(0.01))]
    assert table(base, up).split == "test"
    up[2] = up[2]._replace(test=None)
    comparison = table(base, up)
    assert comparison.split == "val"
    assert comparison.notes[0] == "Validation accuracy, since 1 run did not open the test split."
    assert line(comparison, "up").values[0] == up[0].val


def test_no_accuracy_in_common_is_refused():
    closed = [o._replace(test=None, val=0.9) for o in runs("closed", BASE)]
    with pytest.raises(UserError, match="no accuracy in common"):
        table(runs("base", BASE), closed)


def test_nothing_finished_is_refused_with_the_first_reason():
    lost = [o._replace(failure="not trained yet") for o in runs("base", BASE)]
    with pytest.raises(UserError, match="no run finished") as caught:
        table(lost)
    assert "base, seed 0: not trained yet" in caught.value.hint


def test_a_row_whose_seeds_are_all_alike_is_named():
    comparison = table(runs("base", BASE), runs("flat", [0.1] * 5))
    assert "flat: all 5 seeds have the same accuracy." in comparison.notes
    assert line(comparison, "flat").summary.std == 0
    assert line(comparison, "flat").verdict == "worse"
