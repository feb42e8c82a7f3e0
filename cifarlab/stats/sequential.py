"""Tests of paired differences that keep their error rate however often somebody looks.

A plan says before the first run after how many pairs somebody may look. Student's t does not depend
on the differences' variance, so that under the null hypothesis the t values of all looks together
have one distribution: the smallest p value over all looks is compared with those of simulated
studies (Pocock 1977 with an unknown variance; Jennison & Turnbull 2000, chapter 4). The fraction of
these that are as small is the *sequential p value*. It can only fall while pairs are added, and is
at most 0.05 at any time of a study without a difference in 5 % of such studies. So is each
correction that needs valid p values, Holm's among them.

Differences are taken to be normal. Their order counts: it is the order in which they came.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from cifarlab.stats.paired import ALPHA, Interval

Side = Literal["both", "greater", "less"]
FIRST_LOOK = 3  # pairs; two say next to nothing of the spread
MAX_LOOK = 100  # pairs; later ones are not looked at
N_STUDIES = 200_000  # simulated ones
_CHUNK = 20_000
_EQUAL = 1e-9  # accuracies that differ by less are the same fraction, rounded twice


class Stage(NamedTuple):
    """Looks after ``first``, ``first`` + 1, ..., ``last`` pairs, with a part of the error rate."""

    first: int
    last: int
    part: float


class Plan(NamedTuple):
    """After how many pairs somebody may look."""

    stages: tuple[Stage, ...]

    @classmethod
    def once(cls, n: int) -> "Plan":
        """Return the plan with one look: the ordinary paired t test."""
        return cls((Stage(n, n, 1.0),))

    @classmethod
    def up_to(cls, most: int, first: int = FIRST_LOOK) -> "Plan":
        """Return the plan that looks after each pair from ``first`` to ``most``."""
        return cls((Stage(min(first, most), most, 1.0),))

    @classmethod
    def open(cls) -> "Plan":
        """Return the plan without a number that was named before.

        The first looks have most of the error rate, since most comparisons end there.
        """
        return cls((Stage(3, 10, 0.7), Stage(11, 30, 0.2), Stage(31, MAX_LOOK, 0.1)))

    @property
    def most(self) -> int:
        """Return the number of pairs at the last look."""
        return self.stages[-1].last

    def limits(self, n: int, level: float = ALPHA, side: Side = "both") -> dict[int, float]:
        """Return by number of pairs, up to n, the p value of one look that a look needs.

        Args:
            n: how many pairs there are
            level: the error rate of all looks together
            side: the alternative: a difference, one above or one below what is tested
        """
        return {
            look: _quantile(stage, level * stage.part, side)
            for stage in self.stages
            if stage.first <= n
            for look in range(stage.first, min(stage.last, n) + 1)
        }


def sequential_p(
    differences: Sequence[float], plan: Plan, tested: float = 0.0, side: Side = "both"
) -> float:
    """Return the p value that is valid over all looks so far.

    Args:
        differences: of the pairs, in the order in which they came
        plan: when somebody may look
        tested: the difference under the null hypothesis
        side: the alternative: another difference, a greater or a smaller one
    """
    looks = dict(_looks(differences[: plan.most], tested, side))
    ps = [1.0]
    for stage in plan.stages:
        own = [p for look, p in looks.items() if stage.first <= look <= stage.last]
        if own:
            ps.append(_chance(stage, min(own), side) / stage.part)
    return min(ps)


def first_rejections(
    studies: np.ndarray, plan: Plan, tested: float = 0.0, side: Side = "both", level: float = ALPHA
) -> np.ndarray:
    """Return for many studies at once the number of pairs at which each rejects; 0: never.

    Args:
        studies: differences (R, N), a row for each study
        plan: when somebody may look
        tested: the difference under the null hypothesis
        side: the alternative: another difference, a greater or a smaller one
        level: the error rate of all looks together
    """
    from scipy.special import stdtrit

    found = np.zeros(len(studies), dtype=np.int64)
    sums, squares = np.cumsum(studies, axis=1), np.cumsum(np.square(studies), axis=1)
    for n, p in plan.limits(studies.shape[1], level, side).items():
        mean = sums[:, n - 1] / n
        variances = (squares[:, n - 1] - n * mean**2) / (n - 1)
        t = (mean - tested) / np.sqrt(variances / n)
        t = np.abs(t) if side == "both" else t if side == "greater" else -t
        critical = -stdtrit(n - 1, p / 2 if side == "both" else p)
        found[(found == 0) & (t >= critical)] = n
    return found


def equivalence_p(differences: Sequence[float], plan: Plan, margin: float) -> float:
    """Return the p value of a difference beyond the margin, on either side, over all looks.

    Two one-sided tests (Schuirmann 1987): both have to reject, so neither is corrected.
    """
    return max(
        sequential_p(differences, plan, -margin, "greater"),
        sequential_p(differences, plan, margin, "less"),
    )


def sequential_interval(
    differences: Sequence[float], plan: Plan, level: float = ALPHA
) -> Interval | None:
    """Return the interval of the mean difference that holds at the moment of stopping.

    It is what all looks' intervals have in common, and so excludes zero where ``sequential_p`` is
    at most ``level``. Where they have nothing in common, it is the last one: all of them together
    hold with 1 - ``level``. None before the first look, or where the differences do not vary.
    """
    from scipy.special import stdtrit

    intervals = []
    for look, p in plan.limits(len(differences), level).items():
        mean, error = _mean_and_error(differences[:look])
        if error:
            half_width = -float(stdtrit(look - 1, p / 2)) * error
            intervals.append((mean - half_width, mean + half_width))
    if not intervals:
        return None
    low, high = max(low for low, _ in intervals), min(high for _, high in intervals)
    return (low, high) if low < high else intervals[-1]


def _looks(differences: Sequence[float], tested: float, side: Side) -> Iterator[tuple[int, float]]:
    """Yield for each number of pairs the p value of one look; without spread there is none."""
    from scipy.special import stdtr

    for look in range(2, len(differences) + 1):
        mean, error = _mean_and_error(differences[:look])
        if not error:
            continue
        t = (mean - tested) / error
        if side == "both":
            yield look, 2 * float(stdtr(look - 1, -abs(t)))
        else:
            yield look, float(stdtr(look - 1, -t if side == "greater" else t))


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    numbers = np.asarray(values, dtype=np.float64)
    error = numbers.std(ddof=1) / math.sqrt(len(numbers)) if np.ptp(numbers) > _EQUAL else 0.0
    return float(numbers.mean()), float(error)


def _chance(stage: Stage, p: float, side: Side) -> float:
    """The chance of so small a p value at any look of a stage, without a difference."""
    if stage.first == stage.last:
        return p
    simulated = _simulate(stage.first, stage.last, side != "both")
    return float(np.searchsorted(simulated, p, side="right") + 1) / (len(simulated) + 1)


def _quantile(stage: Stage, level: float, side: Side) -> float:
    """The largest p value of one look whose chance over the stage is at most ``level``."""
    if stage.first == stage.last:
        return level
    simulated = _simulate(stage.first, stage.last, side != "both")
    rank = int(level * (len(simulated) + 1)) - 1
    return float(simulated[rank - 1]) if rank > 0 else 0.0


@cache
def _simulate(first: int, last: int, one_sided: bool) -> np.ndarray:
    """Return the smallest p values over the looks of simulated studies without a difference."""
    draws = np.random.default_rng(0)
    smallest = [_smallest_ps(draws, first, last, one_sided) for _ in range(N_STUDIES // _CHUNK)]
    return np.sort(np.concatenate(smallest))


def _smallest_ps(
    draws: np.random.Generator, first: int, last: int, one_sided: bool
) -> np.ndarray:
    from scipy.special import stdtr

    sums, squares, smallest = np.zeros(_CHUNK), np.zeros(_CHUNK), np.ones(_CHUNK)
    for n in range(1, last + 1):
        values = draws.standard_normal(_CHUNK)
        sums += values
        squares += values * values
        if n >= first:
            variances = (squares - sums * sums / n) / (n - 1)
            t = sums / np.sqrt(n * variances)
            p = stdtr(n - 1, -t) if one_sided else 2 * stdtr(n - 1, -np.abs(t))
            np.minimum(smallest, p, out=smallest)
    return smallest
