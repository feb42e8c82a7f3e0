"""What is computed of accuracies: intervals, paired differences, corrected p values, power.

Pure functions of numbers. Every interval is 95 %, every test two-sided at 5 %.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 100_000  # nobody trains more; the search for a number of seeds ends here
_EQUAL = 1e-9  # accuracies that are nearer than this are one share, rounded twice

Interval = tuple[float, float]


class Summary(NamedTuple):
    """Of n numbers: their mean, and from two on their sample deviation and the mean's interval."""

    n: int
    mean: float
    std: float | None
    interval: Interval | None


class Paired(NamedTuple):
    """Differences of n pairs; ``effect`` is Cohen's d_z, their mean over their deviation.

    ``effect`` and ``p`` (paired t) are None where the differences do not vary.
    """

    difference: Summary
    effect: float | None
    p: float | None


def summary(values: Sequence[float]) -> Summary:
    """Mean, deviation (n - 1) and Student's interval of the mean; ``values`` has one at least."""
    numbers = np.asarray(values, dtype=np.float64)
    n, mean = len(numbers), float(numbers.mean())
    if n < 2:
        return Summary(n, mean, None, None)
    std = 0.0 if np.ptp(numbers) < _EQUAL else float(numbers.std(ddof=1))
    reach = _quantile(n) * std / math.sqrt(n)
    return Summary(n, mean, std, (mean - reach, mean + reach))


def prediction_interval(of: Summary) -> Interval | None:
    """Where one more run would lie with 95 %: wider than the interval of the mean."""
    if of.std is None:
        return None
    reach = _quantile(of.n) * of.std * math.sqrt(1 + 1 / of.n)
    return of.mean - reach, of.mean + reach


def _quantile(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, n - 1))


def paired(ours: Sequence[float], baseline: Sequence[float]) -> Paired:
    """``ours`` minus ``baseline``, one of each per pair; there is one pair at least."""
    from scipy.stats import ttest_rel

    difference = summary(np.subtract(ours, baseline).tolist())
    if not difference.std:
        return Paired(difference, None, None)
    p = float(ttest_rel(ours, baseline).pvalue)
    return Paired(difference, difference.mean / difference.std, p)


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
    centre = max(n * effect**2, 1e-12)
    return float(ncf.sf(critical**2, 1, n - 1, centre))


def detectable(std: float, n: int, alpha: float = ALPHA) -> float:
    """The least true difference that n pairs find with 80 %, at that deviation of differences."""
    from scipy.optimize import brentq

    high = 1.0
    while power(high, n, alpha) < POWER:
        high *= 2
    return std * float(brentq(lambda effect: power(effect, n, alpha) - POWER, 0.0, high))


def seeds_needed(std: float, difference: float, alpha: float = ALPHA) -> int | None:
    """Pairs that find a true difference with 80 %; None where even MOST_SEEDS would not."""
    effect = difference / std if std else math.inf
    if not math.isfinite(effect):
        return 2
    few, enough = 1, 2
    while power(effect, enough, alpha) < POWER:
        few, enough = enough, 2 * enough
        if enough > MOST_SEEDS:
            return None
    while enough - few > 1:
        middle = (few + enough) // 2
        if power(effect, middle, alpha) < POWER:
            few = middle
        else:
            enough = middle
    return enough
