"""Verdicts under a plan: how often they are wrong, margins, looks that have not come."""

import numpy as np
import pytest

from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.verdicts import describe_plan, fit_plan
from cifarlab.metrics.kinds import LogLoss
from cifarlab.stats.paired import holm
from cifarlab.stats.sequential import Plan, sequential_interval, sequential_p

MOST = 10
PLAN = Plan.up_to(MOST)
LOSS = LogLoss().facts


def made(differences: np.ndarray, plan: Plan | None = PLAN, **options: object) -> Comparison:
    """A comparison of rows r0, r1, ... whose differences (R, n) from the baseline are these."""
    base = 0.9 + 0.01 * np.sin(np.arange(differences.shape[1]))
    rows = {"base": base} | {f"r{k}": base + row for k, row in enumerate(differences)}
    outcomes = [
        Outcome(name, seed, f"{name}-{seed}", "digits", test=float(value))
        for name, values in rows.items()
        for seed, value in enumerate(values)
        if np.isfinite(value)
    ]
    return compare("t", list(rows), "base", outcomes, plan=plan, **options)


def run_until_decided(differences: np.ndarray, margin: float | None = None) -> Comparison:
    """The comparison at the end of a study that gives each row seeds until it is decided."""
    cut = np.full_like(differences, np.nan)
    is_open = np.ones(len(differences), bool)
    for n in range(1, differences.shape[1] + 1):
        cut[is_open, n - 1] = differences[is_open, n - 1]
        if n < 3:
            continue
        comparison = made(cut[:, :n], margin=margin)
        is_open = np.array([not row.is_decided for row in comparison.rows[1:]])
        if not is_open.any():
            break
    return comparison


@pytest.mark.parametrize(("n_rows", "studies"), [(1, 2000), (10, 400)])
def test_equal_rows_are_called_different_in_at_most_5_percent_of_studies(n_rows, studies):
    """A look after each seed from the third on; looks at p < 0.05 would call 16.5 % different.

    The last look tells of all, since p never rises (below).
    """
    draw = np.random.default_rng(n_rows)
    n_wrong = 0
    for _ in range(studies):
        comparison = made(draw.normal(0, 0.003, (n_rows, MOST)))
        n_wrong += any(row.is_decided for row in comparison.rows)
    error = 2 * np.sqrt(0.05 * 0.95 / studies)
    assert 0.02 < n_wrong / studies < 0.05 + error


def test_rows_at_the_margin_are_called_the_same_in_at_most_5_percent_of_studies():
    draw = np.random.default_rng(5)
    studies, n_wrong = 1000, 0
    for _ in range(studies):
        row = made(draw.normal(0.002, 0.001, (1, MOST)), margin=0.002).rows[1]
        n_wrong += row.same_p <= 0.05
    assert 0.02 < n_wrong / studies < 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)


def test_rows_that_stop_when_they_are_decided_are_those_that_the_last_look_decides():
    draw = np.random.default_rng(6)
    n_early = 0
    for effect in np.repeat([0.0, 0.003], 40):
        differences = draw.normal(effect, 0.003, (1, MOST))
        early, full = run_until_decided(differences).rows[1], made(differences).rows[1]
        assert early.verdict == full.verdict and early.p >= full.p
        n_early += len(early.values) < MOST
    assert 10 < n_early < 60


def test_each_verdict():
    noise = np.array([0.0004, -0.0005, 0.0003, -0.0002, 0.0001, 0.0002])
    rows = np.stack([noise + 0.01, noise - 0.01, noise, 20 * noise])
    verdicts = [row.verdict for row in made(rows, margin=0.002).rows]
    assert verdicts == [
        "the baseline",
        "better",
        "worse",
        "the same within 0.2 points",
        "undecided",
    ]
    by_loss = made(rows, margin=0.002, metric=LOSS).rows
    assert [row.verdict for row in by_loss[1:4]] == ["worse", "better", "the same within 0.002"]
    without = made(rows).rows[3]
    assert without.verdict == "undecided" and without.same_p is None
    assert [row.is_decided for row in made(rows, margin=0.002).rows] == [0, 1, 1, 1, 0]


def test_p_and_interval_are_the_sequential_ones_and_holm_counts_rows_without_a_look():
    draw = np.random.default_rng(0)
    rows = draw.normal(0.002, 0.002, (3, 6))
    rows[2, 2:] = np.nan  # two pairs: its first look is still to come
    comparison = made(rows)
    ps = [sequential_p(list(row), PLAN) for row in rows[:2]]
    assert [row.pairs.p for row in comparison.rows[1:3]] == pytest.approx(ps, rel=1e-6)
    corrected = [row.p for row in comparison.rows[1:3]]
    assert corrected == pytest.approx(holm([*ps, 1.0])[:2], rel=1e-6)
    waiting = comparison.rows[3]
    assert (waiting.p, waiting.pairs.p, waiting.pairs.difference.interval) == (None, None, None)
    assert waiting.verdict == "undecided" and comparison.n_tests == 3
    assert any("The first look is after 3 pairs" in note and "r2 2" in note
               for note in comparison.notes)  # fmt: skip
    interval = sequential_interval(list(rows[0]), PLAN)
    assert comparison.rows[1].pairs.difference.interval == pytest.approx(interval)


def test_p_never_rises_with_more_seeds():
    rows = np.random.default_rng(1).normal(0.001, 0.003, (4, MOST))
    ps = np.array([[row.p for row in made(rows[:, :n]).rows[1:]] for n in range(3, MOST + 1)])
    assert (np.diff(ps, axis=0) <= 1e-12).all()


def test_one_look_is_the_ordinary_t_test_and_waits_for_runs_that_may_come():
    rows = np.random.default_rng(2).normal(0.001, 0.003, (1, 4))
    planned = made(rows, Plan.once(5))  # a seed diverged: no more can come
    assert planned.rows[1].p == pytest.approx(made(rows, Plan.once(4)).rows[1].p)
    base = [Outcome("base", s, f"b{s}", "digits", test=0.9 + s / 900) for s in range(5)]
    ours = [o._replace(row="ours", test=o.test + 0.01 + o.seed**2 / 9000) for o in base]
    ours = [o._replace(fingerprint=f"o{o.seed}") for o in ours]
    late = Outcome("ours", 4, failure="not trained yet", is_pending=True)
    waiting = compare("t", ["base", "ours"], "base", [*base, *ours[:4], late], plan=Plan.once(5))
    assert waiting.rows[1].verdict == "undecided" and waiting.rows[1].p is None
    lost = late._replace(failure="DivergenceError: NaN", is_pending=False)
    without = compare("t", ["base", "ours"], "base", [*base, *ours[:4], lost], plan=Plan.once(5))
    assert without.rows[1].verdict == "better"
    assert fit_plan(PLAN, 4, True) == PLAN


def test_without_a_plan_more_looks_count():
    rows = np.array([[0.004, 0.005, 0.006, 0.0045]])
    ps = [made(rows, plan).rows[1].p for plan in (Plan.once(4), PLAN, None)]
    assert ps == sorted(ps) and len(set(ps)) == 3
    assert made(rows[:, :2], None).rows[1].verdict == "undecided"


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan.once(1), "one look, after 1 seed;"),
        (Plan.once(4), "one look, after 4 seeds; p by the paired t test"),
        (PLAN, "a look after each pair from 3 to 10; p and intervals hold at each"),
        (Plan.open(), "No plan holds here: p and intervals hold at any look"),
    ],
)
def test_a_sentence_says_what_holds(plan, words):
    assert words in describe_plan(plan)


def test_what_comes_after_the_last_look_does_not_count():
    """A hundred pairs that gain a point, then two hundred that lose five."""
    draw = np.random.default_rng(3)
    row = np.concatenate([draw.normal(0.01, 0.002, 100), draw.normal(-0.05, 0.002, 200)])[None]
    late, early = made(row, None), made(row[:, :100], None)
    assert late.rows[1].pairs == early.rows[1].pairs and late.rows[1].verdict == "better"
    low, high = late.rows[1].pairs.difference.interval
    assert low < late.rows[1].pairs.difference.mean < high
    assert late.rows[0].summary == early.rows[0].summary
    note = "The last look is after 100 pairs; later seeds don't count: base 300, r0 300."
    assert note in late.notes and not any("last look" in text for text in early.notes)


@pytest.mark.parametrize("n_rows", [1, 3])
def test_the_direction_is_that_of_the_look_that_decided(n_rows):
    """Later pairs can't take back what a look has shown."""
    row = np.array([0.010, 0.0101, 0.0099, *[-0.05] * 7])
    noise = np.random.default_rng(0).normal(0, 0.01, (n_rows - 1, 10))
    for n in (3, 6, 10):
        decided = made(np.stack([row, *noise])[:, :n]).rows[1]
        assert decided.verdict == "better"
    assert decided.pairs.difference.mean < 0 and sum(decided.pairs.difference.interval) < 0


def test_a_small_difference_is_better_and_within_the_margin():
    row = np.array([[0.0010, 0.0011, 0.0009, 0.0010]])
    decided = made(row, margin=0.002).rows[1]
    assert decided.verdict == "better, by less than 0.2 points" and decided.is_decided
    assert made(row, margin=0.002, metric=LOSS).rows[1].verdict == "worse, by less than 0.002"
    assert made(row, margin=0.001).rows[1].verdict == "better"


@pytest.mark.parametrize("plan", [PLAN, Plan.once(4), None])
def test_equal_values_in_each_of_three_pairs_are_the_same_within_any_margin(plan):
    equal = np.zeros((1, 4))
    row = made(equal, plan, margin=1e-6).rows[1]
    assert (row.verdict, row.is_decided) == ("the same within 0.0001 points", True)
    without = made(equal, plan).rows[1]
    assert (without.verdict, without.is_decided) == ("the same: equal in every pair", True)
    assert without.p is None
    short = made(equal[:, :2], Plan.once(2) if plan == Plan.once(4) else plan, margin=0.1).rows[1]
    assert short.verdict == "equal in each of 2 pairs: no test" and not short.is_decided


def test_equal_values_wait_for_the_planned_look():
    base = [Outcome("base", s, f"b{s}", "digits", test=0.9 + s / 900) for s in range(5)]
    ours = [o._replace(row="ours", fingerprint=f"o{o.seed}") for o in base]
    late = Outcome("ours", 4, failure="not trained yet", is_pending=True)
    for runs, is_decided in (([*ours[:4], late], False), (ours, True)):
        row = compare("t", ["base", "ours"], "base", [*base, *runs], plan=Plan.once(5)).rows[1]
        assert row.is_decided == is_decided


def test_without_spread_there_is_no_interval():
    """Two pairs that agree say nothing of how pairs vary."""
    row = made(np.full((1, 2), 0.01), Plan.once(2)).rows[1]
    assert row.verdict == "+1.00 points in every pair: without spread, no test"
    assert row.pairs.difference.interval is None


def test_pairs_that_nobody_planned_come_in_the_order_of_their_later_run():
    """Seeds that were trained downwards were looked at downwards."""
    draw = np.random.default_rng(2)
    base, effects = 0.9 + 0.01 * np.sin(np.arange(6)), draw.normal(0.003, 0.002, 6)
    outcomes = [
        Outcome(row, s, f"{row}{s}", "digits", test=value, time=time)
        for s in range(6)
        for row, value, time in (
            ("base", base[s], "2026-01-01"),
            ("ours", base[s] + effects[s], f"2026-01-{20 - s}"),
        )
    ]
    unplanned = compare("t", ["base", "ours"], "base", outcomes).rows[1]
    assert list(unplanned.values) == [5, 4, 3, 2, 1, 0]
    assert unplanned.p == pytest.approx(sequential_p(list(effects[::-1]), Plan.open()))
    planned = compare("t", ["base", "ours"], "base", outcomes, plan=PLAN).rows[1]
    assert planned.p == pytest.approx(sequential_p(list(effects), PLAN))


def test_a_choice_among_rows_after_their_runs_is_wrong_in_at_most_5_percent():
    """The best of five rows, compared alone afterwards; so is the lowest row as the baseline."""
    draw, studies = np.random.default_rng(8), 300
    n_wrong = dict.fromkeys(("alone", "counted", "against the lowest"), 0)
    for _ in range(studies):
        rows = draw.normal(0, 0.003, (5, MOST))
        best = rows[[np.argmin([row.pairs.p for row in made(rows, None).rows[1:]])]]
        levels = np.stack([np.zeros(MOST), *rows])  # of the baseline and the rows
        lowest = levels.mean(axis=1).argmin()
        others = np.delete(levels, lowest, axis=0) - levels[lowest]
        for name, comparison in (
            ("alone", made(best, None)),
            ("counted", made(best, None, n_tests=5)),
            ("against the lowest", made(others, None, n_tests=15)),
        ):
            n_wrong[name] += any(row.is_decided for row in comparison.rows)
    assert n_wrong["alone"] / studies > 0.1
    error = 2 * np.sqrt(0.05 * 0.95 / studies)
    assert max(n_wrong["counted"], n_wrong["against the lowest"]) / studies < 0.05 + error
