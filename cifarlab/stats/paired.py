"""Statistics of accuracies: intervals, paired differences, corrected p values.

Pure functions of numbers. Every interval is 95 %, every test two-sided at 5 %.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ALPHA = 0.05
EQUAL = 1e-9  # accuracies that differ by less are the same fraction, rounded twice

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
    std = 0.0 if np.ptp(numbers) < EQUAL else float(numbers.std(ddof=1))
    half_width = _quantile(n) * std / math.sqrt(n)
    return Summary(n, mean, std, (mean - half_width, mean + half_width))


def prediction_interval(summary: Summary, n_new: int = 1) -> Interval | None:
    """Return where the mean of ``n_new`` more runs would lie with 95 %."""
    if summary.std is None:
        return None
    half_width = _quantile(summary.n) * summary.std * math.sqrt(1 / n_new + 1 / summary.n)
    return summary.mean - half_width, summary.mean + half_width


def _quantile(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - ALPHA / 2, n - 1))


def compare_pairs(ours: Sequence[float], baseline: Sequence[float]) -> PairedComparison:
    """Compare ``ours`` with ``baseline``, pair by pair; there is at least one pair."""
    from scipy.stats import ttest_rel

    difference = summarize(np.subtract(ours, baseline).tolist())
    if not difference.std:
        return PairedComparison(difference, None, None)
    p = float(ttest_rel(ours, baseline).pvalue)
    return PairedComparison(difference, difference.mean / difference.std, p)


def holm(ps: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the p values (..., M) corrected for their number M by Holm's step-down method.

    Where those below 0.05 are called real, the chance that any is called so wrongly is at most 5 %
    (Holm 1979).
    """
    # written out, since statsmodels' multipletests collects all garbage at each call
    values = np.asarray(ps, np.float64)
    order = values.argsort(axis=-1)
    factors = np.arange(values.shape[-1], 0, -1)
    sorted_ps = np.take_along_axis(values, order, -1) * factors
    corrected = np.minimum(1, np.maximum.accumulate(sorted_ps, axis=-1))
    return np.take_along_axis(corrected, order.argsort(axis=-1), -1)
