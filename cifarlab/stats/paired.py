"""Statistics of accuracies: intervals, paired differences, corrected p values, power.

Pure functions of numbers. Every interval is 95 %, every test two-sided at 5 %.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
ALPHA = 0.05
_EQUAL = 1e-9  # accuracies that differ by less are the same fraction, rounded twice

Interval = tuple[float, float]


class Summary(NamedTuple):
    """Mean of n numbers and, of two or more, sample standard deviation and the mean's interval."""

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
    """Return where one more run would lie with 95 %: wider than the interval of the mean."""
    if summary.std is None:
        return None
    half_width = _quantile(summary.n) * summary.std * math.sqrt(1 + 1 / summary.n)
    return summary.mean - half_width, summary.mean + half_width


def _quantile(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, n - 1))


def compare_pairs(ours: Sequence[float], baseline: Sequence[float]) -> PairedComparison:
    """Compare ``ours`` with ``baseline``, pair by pair; there is at least one pair."""
    from scipy.stats import ttest_rel

    difference = summarize(np.subtract(ours, baseline).tolist())
    if not difference.std:
        return PairedComparison(difference, None, None)
    p = float(ttest_rel(ours, baseline).pvalue)
    return PairedComparison(difference, difference.mean / difference.std, p)


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number by Holm's step-down method (Holm 1979).

    Where those below 0.05 are called real, the chance that any is called so wrongly is at most 5 %.
    """
    # written out, since statsmodels' multipletests collects all garbage at each call
    order = np.argsort(ps)
    factors = np.arange(len(ps), 0, -1)
    result = np.empty(len(ps))
    result[order] = np.minimum(1, np.maximum.accumulate(np.asarray(ps)[order] * factors))
    return [float(p) for p in result]


def power(effect: float, n: int, alpha: float = ALPHA) -> float:
    """Return the chance that a paired t test finds a true effect (Cohen 1988, chapter 2).

    Args:
        effect: Cohen's d_z
        n: how many pairs there are
        alpha: the test's level
    """
    from scipy.stats import ncf, t

    critical = t.isf(alpha / 2, n - 1)
    # the square of a noncentral t is a noncentral F, whose tail SciPy computes for all values
    noncentrality = max(n * effect**2, 1e-12)
    return float(ncf.sf(critical**2, 1, n - 1, noncentrality))
