"""Sequential p values and intervals against slow versions, other simulations and statsmodels."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp, ttest_rel
from statsmodels.stats.power import ttest_power
from statsmodels.stats.weightstats import ttost_paired

from cifarlab.stats.paired import holm
from cifarlab.stats.sequential import (
    MAX_LOOK,
    Plan,
    equivalence_p,
    first_rejections,
    sequential_interval,
    sequential_p,
    sequential_ps,
)

TEN = Plan.up_to(10)
PLANS = (TEN, Plan.up_to(6, first=2), Plan.once(5), Plan.open())
SOME = [0.004, -0.001, 0.006, 0.002, 0.003, 0.001, 0.005]
# thousandths, as accuracies are; one study in six has no spread at first
STUDIES = st.lists(st.integers(-40, 60).map(lambda n: n / 1000), min_size=3, max_size=12)
plans = pytest.mark.parametrize("plan", PLANS, ids=lambda p: f"{p.stages[0].first}-{p.most}")


def ordinary_ps(studies: np.ndarray, side: str = "two-sided") -> np.ndarray:
    """SciPy's p value at each look from 3 pairs on, (R, looks)."""
    looks = range(3, studies.shape[1] + 1)
    return np.stack([ttest_1samp(studies[:, :n], 0, 1, alternative=side)[1] for n in looks], 1)


@pytest.fixture(scope="module")
def simulated() -> np.ndarray:
    """Studies without a difference, none of which the limits are made of."""
    return np.random.default_rng(2024).standard_normal((30_000, 10))


def test_the_limits_of_ten_looks_are_those_of_another_simulation(simulated: np.ndarray) -> None:
    """Monte Carlo errors: 0.0013 here, 0.0005 of the limit."""
    smallest = ordinary_ps(simulated).min(axis=1)
    assert (smallest < 0.05).mean() == pytest.approx(0.166, abs=0.007)  # why a plan is needed
    assert (smallest < 0.0120).mean() == pytest.approx(0.05, abs=0.004)
    limits = TEN.limits(10)
    assert list(limits) == list(range(3, 11)) and len(set(limits.values())) == 1
    assert limits[3] == pytest.approx(0.0120, abs=0.0004)
    one_sided = ordinary_ps(simulated, "greater").min(axis=1)
    assert (one_sided <= TEN.limits(10, side="greater")[3]).mean() == pytest.approx(0.05, abs=0.004)


@pytest.mark.parametrize(("side", "theirs"), [("both", "two-sided"), ("greater", "greater")])
def test_a_study_rejects_where_a_look_meets_its_limit(simulated, side, theirs) -> None:
    for level in (0.05, 0.002):
        meets = ordinary_ps(simulated[:5_000], theirs) <= TEN.limits(10, level, side)[3]
        ends = np.where(meets.any(axis=1), meets.argmax(axis=1) + 3, 0)
        assert np.array_equal(first_rejections(simulated[:5_000], TEN, 0, side, level), ends)


def test_a_large_effect_is_decided_early(simulated: np.ndarray) -> None:
    ends = first_rejections(simulated + 1.5, TEN)
    assert (ends > 0).mean() == pytest.approx(0.93, abs=0.01)
    assert np.where(ends, ends, 10).mean() == pytest.approx(6.3, abs=0.1)
    assert ttest_power(1.5, 10, 0.05) > (ends > 0).mean()  # ten at once
    assert (ends > 0).mean() > ttest_power(1.5, 6, 0.05)


@pytest.mark.parametrize("side", ["both", "greater", "less"])
@plans
def test_equal_recipes_are_called_different_in_5_of_100_studies(plan: Plan, side: str) -> None:
    n = min(plan.most, 40)
    studies = np.random.default_rng(5).standard_normal((10_000, n)) * 0.003
    for level in (0.05, 0.005):
        rejects = (first_rejections(studies, plan, 0.0, side, level) > 0).mean()
        bar = level * (1 if plan.most == n else 0.9 + 0.1 * 10 / 70)  # ten of the last 70 looks
        assert rejects <= level + 3 * math.sqrt(level / 10_000)
        assert rejects >= 0.8 * bar - 3 * math.sqrt(level / 10_000)  # nor is much given away


def test_the_p_value_is_the_fraction_of_simulated_studies_that_are_as_small(
    simulated: np.ndarray,
) -> None:
    smallest = ordinary_ps(simulated).min(axis=1)
    for n in range(3, len(SOME) + 1):
        p = min(ttest_1samp(SOME[:k], 0).pvalue for k in range(3, n + 1))
        slow = (smallest <= p).mean()
        assert sequential_p(SOME[:n], TEN) == pytest.approx(slow, abs=0.01)


def test_one_look_is_the_ordinary_test() -> None:
    theirs = [0.5, 0.51, 0.49, 0.52, 0.5, 0.47, 0.55]
    ours = np.add(theirs, SOME)
    plan = Plan.once(7)
    assert sequential_p(SOME, plan) == pytest.approx(ttest_rel(ours, theirs).pvalue)
    assert equivalence_p(SOME, plan, 0.006) == pytest.approx(
        ttost_paired(ours, np.array(theirs), -0.006, 0.006)[0]
    )
    greater = ttest_rel(ours, np.subtract(theirs, 0.002), alternative="greater").pvalue
    assert sequential_p(SOME, plan, -0.002, "greater") == pytest.approx(greater)
    error = np.std(SOME, ddof=1) / math.sqrt(7)
    low, high = np.mean(SOME) + t.ppf([0.025, 0.975], 6) * error
    assert sequential_interval(SOME, plan) == pytest.approx((low, high))


def test_a_plan_looks_when_it_says() -> None:
    assert sequential_p(SOME, Plan.once(8)) == 1.0  # not yet
    assert sequential_p([*SOME, 5.0, -7.0], Plan.once(7)) == sequential_p(SOME, Plan.once(7))
    late = [*SOME, 0.003, 0.002, 0.004]
    assert sequential_p([*late, 0.0, 5.0], TEN) == sequential_p(late, TEN)
    assert sequential_interval([*late, 0.0, 5.0], TEN) == sequential_interval(late, TEN)
    assert Plan.up_to(2) == Plan.once(2)
    assert TEN.most == 10 and list(TEN.limits(4)) == [3, 4] and not TEN.limits(2)


@pytest.mark.parametrize("values", [[], [0.01], [0.01, 0.02], [0.01] * 9, [0.3, 0.1 + 0.2, 0.3]])
def test_few_pairs_and_no_spread_are_no_evidence(values: list[float]) -> None:
    assert sequential_p(values, TEN) == equivalence_p(values, TEN, 0.5) == 1.0
    assert sequential_interval(values, TEN) is None
    assert sequential_p(values[:1], Plan.once(1)) == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_no_difference(value: float) -> None:
    with pytest.raises(ValueError, match="not finite: leave such pairs out"):
        sequential_p([0.01, 0.011, 0.012, value, 0.01], TEN)


@pytest.mark.parametrize("most", [0, MAX_LOOK + 1])
def test_a_plan_looks_at_one_to_a_hundred_pairs(most: int) -> None:
    with pytest.raises(ValueError, match=f"after 1 to 100 pairs, not {most}"):
        Plan.up_to(most)


def test_the_p_value_of_one_look_holds_for_all_of_a_plan() -> None:
    for plan in (Plan.once(4), TEN, Plan.open()):
        for p in (1e-4, 0.003, 0.04, 0.7):
            corrected = plan.p_at(4, p)
            assert corrected >= p * 0.999
            assert plan.limits(4, corrected * 1.01)[4] >= p or corrected == 1
            assert plan.limits(4, corrected * 0.99)[4] < p
    assert Plan.once(4).p_at(4, 0.01) == 0.01
    assert TEN.p_at(4, 1e-15) == pytest.approx(8e-15)  # no floor
    differences = [0.4, -0.1, 0.5, 0.9, 1.0, 0.8]
    ps = [ttest_1samp(differences[:n], 0).pvalue for n in range(3, 7)]
    assert min(ps) == ps[-1]
    assert TEN.p_at(6, ps[-1]) == pytest.approx(sequential_p(differences, TEN))


def test_without_a_look_there_is_no_p_value() -> None:
    assert Plan.open().p_at(2, 1e-9) is TEN.p_at(11, 1e-9) is TEN.p_at(4, None) is None


def test_a_tiny_level_is_met_beyond_what_was_simulated() -> None:
    sure = [1.0, 1.001, 0.999, 1.0005, 0.9995, 1.0002]
    p = min(ttest_1samp(sure[:n], 0).pvalue for n in range(3, 7))
    assert sequential_p(sure, TEN) == pytest.approx(8 * p)  # a sum of the chances of eight looks
    assert TEN.limits(10, 1e-9)[3] == pytest.approx(1e-9 / 8)
    assert first_rejections(np.array([sure]), TEN, level=1e-9)[0] > 0
    assert 0.5 < TEN.limits(10, 1.0)[3] < 1.0


@plans
def test_many_studies_at_once_are_each_of_them_pair_by_pair(plan: Plan) -> None:
    studies = np.random.default_rng(1).normal(0.002, 0.003, (5, 12))
    studies[0, :4] = 0.002  # without spread at first
    ps = sequential_ps(studies, plan, 0.001, "greater")
    for (row, study), n in itertools.product(enumerate(studies), range(1, 13)):
        assert ps[row, n - 1] == sequential_p(study[:n].tolist(), plan, 0.001, "greater")


def test_looks_that_contradict_each_other_have_the_last_interval() -> None:
    values = [0.0100, 0.0101, 0.0099, *[-0.05] * 7]
    low, high = sequential_interval(values, TEN)
    assert low < high < 0 < sequential_interval(values[:3], TEN)[0]


def look_intervals(values: list[float], plan: Plan, level: float) -> list[tuple[float, float]]:
    """The interval of each look, the slow way."""
    ways = []
    for n, p in plan.limits(len(values), level).items():
        if np.ptp(values[:n]) > 1e-9:
            half = t.isf(p / 2, n - 1) * np.std(values[:n], ddof=1) / math.sqrt(n)
            ways.append((np.mean(values[:n]) - half, np.mean(values[:n]) + half))
    return ways


@given(values=STUDIES, plan=st.sampled_from(PLANS), level=st.sampled_from([0.05, 0.005, 0.3]))
def test_the_interval_excludes_zero_exactly_where_p_is_at_most_the_level(values, plan, level):
    ways = look_intervals(values, plan, level)
    interval, p = sequential_interval(values, plan, level), sequential_p(values, plan)
    if not ways:
        assert interval is None and p == 1.0
        return
    low, high = max(low for low, _ in ways), min(high for _, high in ways)
    assume(abs(low) > 1e-12 and abs(high) > 1e-12)
    if low >= high:  # looks contradict each other
        assert interval == pytest.approx(ways[-1]) and p <= level
        return
    assert interval == pytest.approx((low, high))
    assert (p <= level) == (low > 0 or high < 0)


@given(values=STUDIES, plan=st.sampled_from(PLANS))
def test_it_never_rises_and_knows_no_units(values, plan):
    ps = [sequential_p(values[:n], plan) for n in range(len(values) + 1)]
    assert ps == sorted(ps, reverse=True) and ps[-1] >= 0 and ps[0] == 1.0
    p, up = ps[-1], sequential_p(values, plan, 0.0005, "greater")
    assert sequential_p(np.negative(values).tolist(), plan) == pytest.approx(p, rel=1e-6)
    swapped = sequential_p(np.negative(values).tolist(), plan, -0.0005, "less")
    assert swapped == pytest.approx(up, rel=1e-6)
    seconds = np.multiply(values, 1000)
    assert sequential_p(seconds.tolist(), plan) == pytest.approx(p, rel=1e-6)
    assert sequential_p(np.add(values, 0.7).tolist(), plan, 0.7) == pytest.approx(p, rel=1e-4)
    if interval := sequential_interval(values, plan):
        shifted = sequential_interval(np.add(values, 0.7).tolist(), plan)
        assert np.subtract(shifted, 0.7) == pytest.approx(interval, abs=1e-9)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0])
def test_at_the_margin_5_of_100_studies_are_called_the_same(ratio: float) -> None:
    """``ratio`` is the margin over the standard deviation of the differences."""
    studies = np.random.default_rng(3).normal(ratio, 1.0, (10_000, 10))
    above = first_rejections(studies, TEN, -ratio, "greater")
    below = first_rejections(studies, TEN, ratio, "less")
    same = ((above > 0) & (below > 0)).mean()
    assert same <= 0.05 + 3 * math.sqrt(0.05 / 10_000)
    study = studies[(above > 0) & (below > 0)][0].tolist()
    assert equivalence_p(study, TEN, ratio) <= 0.05
    middle = first_rejections(studies - ratio, TEN, ratio, "less") > 0
    assert middle.mean() > (0.7 if ratio == 1 else 0.99)  # no difference at all


@pytest.mark.parametrize("effect", [0.0, 1.0, 3.0])
def test_the_interval_holds_at_the_moment_of_stopping(effect: float) -> None:
    n_studies, n_covered = 1_500, 0
    for study in np.random.default_rng(8).normal(effect, 1.0, (n_studies, 10)).tolist():
        for n in range(3, 11):
            low, high = sequential_interval(study[:n], TEN)
            if low > 0 or high < 0:
                break  # decided
        n_covered += low <= effect <= high
    assert n_covered / n_studies >= 0.95 - 3 * math.sqrt(0.05 / n_studies)


def test_ten_rows_keep_5_percent_under_looking() -> None:
    """Five rows differ, five do not, all from one baseline; a row that is decided gets no seeds."""
    draws, n_studies, n_false, n_uncorrected = np.random.default_rng(4), 400, 0, 0
    for _ in range(n_studies):
        values = draws.standard_normal((11, 10)) + np.array([0] * 6 + [6] * 5)[:, None]
        differences, decided = values[1:] - values[0], np.zeros(10, bool)
        ps = np.ones(10)
        for n in range(3, 11):
            now = sequential_ps(differences[:, :n], TEN)[:, -1]
            ps = np.where(decided, ps, now)
            decided |= holm(ps) <= 0.05
        n_false += decided[:5].any()
        n_uncorrected += (ps[:5] <= 0.05).any()
        assert decided[5:].sum() >= 3
    assert n_false / n_studies <= 0.05 + 3 * math.sqrt(0.05 / n_studies)
    assert n_uncorrected / n_studies > 0.1
