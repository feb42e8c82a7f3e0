"""What is computed of accuracies: intervals, paired differences, corrected p values, power.

Pure functions of numbers. Every interval is 95 %, every test two-sided at 5 %.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
ALPHA = 0.05
POWER = 0.8
MAX_SEEDS = 100_000  # nobody trains more; the search for a number of seeds ends here
_EQUAL = 1e-9  # accuracies that are nearer than this are one fraction, rounded twice

Interval = tuple[float, float]


class Summary(NamedTuple):
    """Of n numbers: mean and, from two on, sample standard deviation and the mean's interval."""

    n: int
    mean: float
    std: float | None
    interval: Interval | None


class PairedComparison(NamedTuple):
    """Differences of n pairs; ``effect`` is Cohen's d_z, their mean over their standard deviation.

    ``effect`` and ``p`` (paired t) are None where the differences do not vary.
    """

    difference: Summary
    effect: float | None
    p: float | None


def summarize(values: Sequence[float]) -> Summary:
    """Return mean, standard deviation (n - 1) and Student's interval of one value or more."""
    numbers = np.asarray(values, dtype=np.float64)
    n, mean = len(numbers), float(numbers.mean())
    if n < 2:
        return Summary(n, mean, None, None)
    std = 0.0 if np.ptp(numbers) < _EQUAL else float(numbers.std(ddof=1))
    half_width = _quantile(n) * std / math.sqrt(n)
    return Summary(n, mean, std, (mean - half_width, mean + half_width))


def prediction_interval(summary: Summary) -> Interval | None:
    """Where one more run would lie with 95 %: wider than the interval of the mean."""
    if summary.std is None:
        return None
    half_width = _quantile(summary.n) * summary.std * math.sqrt(1 + 1 / summary.n)
    return summary.mean - half_width, summary.mean + half_width


def _quantile(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, n - 1))


def compare_pairs(ours: Sequence[float], baseline: Sequence[float]) -> PairedComparison:
    """Compare ``ours`` with ``baseline``, one of each per pair; there is one pair at least."""
    from scipy.stats import ttest_rel

    difference = summarize(np.subtract(ours, baseline).tolist())
    if not difference.std:
        return PairedComparison(difference, None, None)
    p = float(ttest_rel(ours, baseline).pvalue)
    return PairedComparison(difference, difference.mean / difference.std, p)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p value corrected for their number by Holm's step-down method (Holm 1979).

    Below 0.05, a difference is called real; the chance of calling any falsely so is at most 5 %.
    """
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(ps, ALPHA, "holm")[1]] if len(ps) else []


def power(effect: float, n: int, alpha: float = ALPHA) -> float:
    """Chance that a paired t test of n pairs finds a true effect of d_z (Cohen 1988, chapter 2)."""
    from scipy.stats import ncf, t

    critical = t.isf(alpha / 2, n - 1)
    # the square of a noncentral t is a noncentral F, whose tail SciPy has without gaps
    noncentrality = max(n * effect**2, 1e-12)
    return float(ncf.sf(critical**2, 1, n - 1, noncentrality))


def detectable_difference(std: float, n: int, alpha: float = ALPHA) -> float:
    """Return the least true difference that n pairs of that standard deviation find with 80 %."""
    from scipy.optimize import brentq

    high = 1.0
    while power(high, n, alpha) < POWER:
        high *= 2
    return std * float(brentq(lambda effect: power(effect, n, alpha) - POWER, 0.0, high))


def seeds_needed(std: float, difference: float, alpha: float = ALPHA) -> int | None:
    """Pairs that find a true difference with 80 %; None where even MAX_SEEDS would not."""
    effect = difference / std if std else math.inf
    if not math.isfinite(effect):
        return 2
    pairs = range(2, MAX_SEEDS + 1)
    index = bisect_left(pairs, POWER, key=lambda n: power(effect, n, alpha))
    return pairs[index] if index < len(pairs) else None
