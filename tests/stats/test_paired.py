"""Intervals, paired tests and Holm against textbook values, and against simulated truth."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests

from cifarlab.stats.paired import (
    compare_pairs,
    holm,
    prediction_interval,
    summarize,
)

# Hours of sleep gained with two drugs, ten patients (Student 1908, The probable error of a mean).
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_mean_std_and_interval_by_hand():
    summary = summarize([1, 2, 3, 4, 5])
    assert (summary.n, summary.mean) == (5, 3)
    assert summary.std == pytest.approx(math.sqrt(10 / 4))
    half_width = 2.776445 * math.sqrt(2.5) / math.sqrt(5)  # t at 0.975 with 4 degrees of freedom
    assert summary.interval == pytest.approx((3 - half_width, 3 + half_width), abs=1e-6)
    prediction_half_width = 2.776445 * math.sqrt(2.5) * math.sqrt(1 + 1 / 5)
    assert prediction_interval(summary) == pytest.approx(
        (3 - prediction_half_width, 3 + prediction_half_width), abs=1e-6
    )


def test_one_number_has_no_spread():
    summary = summarize([0.5])
    assert summary == (1, 0.5, None, None)
    assert prediction_interval(summary) is None


def test_equal_numbers_have_none_to_the_last_bit():
    # 0.1 + 0.2 is not 0.3, but it is the same fraction of images
    summary = summarize([0.3, 0.1 + 0.2, 0.3])
    assert summary.std == 0.0
    assert summary.interval == (summary.mean, summary.mean)


def test_student_s_own_example():
    comparison = compare_pairs(SECOND, FIRST)
    assert comparison.difference.mean == pytest.approx(1.58)
    assert comparison.difference.interval == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert comparison.p == pytest.approx(0.00283289, abs=1e-7)
    assert comparison.effect == pytest.approx(
        4.0621277 / math.sqrt(10), abs=1e-6
    )  # t over root of n
    reverse = compare_pairs(FIRST, SECOND)
    assert reverse.difference.mean == -comparison.difference.mean and reverse.p == comparison.p


@pytest.mark.parametrize("ours", [[0.5], [0.5, 0.6], [0.6, 0.7]])
def test_without_spread_there_is_no_test(ours):
    comparison = compare_pairs(ours, [0.5, 0.6][: len(ours)])
    assert comparison.p is None and comparison.effect is None


def test_pairing_is_what_makes_the_test_sharp():
    seeds = np.random.default_rng(0).normal(0.9, 0.05, 6)
    effects = np.array([0.001, 0.0012, 0.0008, 0.001, 0.0011, 0.0009])
    assert compare_pairs(list(seeds + effects), list(seeds)).p < 1e-4
    assert compare_pairs(list(seeds + effects), list(seeds[::-1])).p > 0.5


@pytest.mark.parametrize(
    ("ps", "corrected"),
    [
        # smallest times 4, next times 3, ...; never below the one before; at most 1
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([0.01, 0.01, 0.01], [0.03, 0.03, 0.03]),
        ([], []),
    ],
)
def test_holm_by_hand(ps, corrected):
    assert holm(ps) == pytest.approx(corrected)


def test_holm_is_that_of_statsmodels():
    draw = np.random.default_rng(2)
    for n in range(1, 12):
        ps = draw.random(n).round(2) ** 3  # some are equal
        assert holm(ps) == pytest.approx(multipletests(ps, 0.05, "holm")[1])


def test_holm_of_many_tables_is_that_of_each():
    tables = np.random.default_rng(0).random((2, 3, 5)) ** 4
    for index in np.ndindex(2, 3):
        assert holm(tables)[index] == pytest.approx(holm(tables[index].tolist()))


@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_covers_the_truth_in_95_of_100_simulated_studies(n):
    rng = np.random.default_rng(n)
    truth, studies, n_covered, n_predicted, n_significant = 0.004, 1000, 0, 0, 0
    for _ in range(studies):
        shared = rng.normal(0, 0.01, n)  # what a seed does to both recipes alike
        baseline = 0.90 + shared + rng.normal(0, 0.003, n)
        ours = 0.90 + truth + shared + rng.normal(0, 0.003, n)
        summary = summarize((ours - baseline).tolist())
        n_covered += summary.interval[0] <= truth <= summary.interval[1]
        low, high = prediction_interval(summary)
        n_predicted += low <= truth + rng.normal(0, 0.003) - rng.normal(0, 0.003) <= high
        n_significant += compare_pairs(ours - truth, baseline).p < 0.05
    assert 0.93 <= n_covered / studies <= 0.97
    assert 0.93 <= n_predicted / studies <= 0.97
    assert 0.03 <= n_significant / studies <= 0.07  # false alarms where there is no difference


def test_holm_keeps_the_false_alarms_of_a_whole_table_at_5_percent(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects at each call: 0.1 s
    rng = np.random.default_rng(0)
    n_corrected, n_uncorrected, studies, rows, n = 0, 0, 500, 6, 4
    for table in rng.normal(size=(studies, 2, n, rows)):
        ps = ttest_rel(*table).pvalue  # what compare_pairs gives, all rows at once
        if min(ps) < 0.05:  # a corrected p is never below its own
            n_uncorrected += 1
            n_corrected += min(holm(ps)) < 0.05
    assert n_corrected / studies <= 0.075
    assert n_uncorrected / studies > 0.15  # without, every fifth table would show a difference
