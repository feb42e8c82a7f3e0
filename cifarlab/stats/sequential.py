"""Tests of paired differences that keep their error rate however often somebody looks.

A plan says, before the first run, after how many pairs somebody may look. Without a difference,
the t values of all looks together have one distribution, whatever the standard deviation of the
differences is, so that it can be simulated once for all studies. Each look computes the ordinary p
value of Student's t test. The smallest one so far is held against the smallest ones of simulated
studies without a difference: the fraction of these that are as small is the *sequential p value*
(limits of Pocock 1977 with an unknown variance; Jennison & Turnbull 2000, chapter 4).

While pairs are added it can only fall. In a study without a difference the chance that it ever
falls to 0.05 is 5 %. So it may be corrected for several rows like any p value, by Holm's method.

Differences are taken to be independent and normal. They stand in the order in which they came.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from cifarlab.stats.paired import ALPHA, EQUAL, Interval

Side = Literal["both", "greater", "less"]
FIRST_LOOK = 3  # pairs; two say next to nothing of the spread
MAX_LOOK = 100  # pairs; the plan without a number ends here
N_STUDIES = 200_000  # simulated ones: a level of 0.05 is met within 0.0005
_CHUNK = 20_000  # at once: fits into a processor's cache
_LOG_TAILS = np.linspace(np.log(0.5), np.log(1e-12), 1_000)
_TAILS = np.exp(_LOG_TAILS)


class PlanStage(NamedTuple):
    """Looks after ``first``, ``first`` + 1, ..., ``last`` pairs, with a part of the error rate."""

    first: int
    last: int
    part: float


class Plan(NamedTuple):
    """After how many pairs somebody may look."""

    stages: tuple[PlanStage, ...]

    @classmethod
    def once(cls, n: int) -> "Plan":
        """Return the plan with one look: the ordinary paired t test."""
        return cls((PlanStage(n, n, 1.0),))

    @classmethod
    def up_to(cls, most: int, first: int = FIRST_LOOK) -> "Plan":
        """Return the plan that looks after each pair from ``first`` to ``most``, 1 to MAX_LOOK.

        Raises:
            ValueError: ``most`` is another number
        """
        if not 1 <= most <= MAX_LOOK:
            raise ValueError(f"a plan looks after 1 to {MAX_LOOK} pairs, not {most}")
        return cls((PlanStage(min(first, most), most, 1.0),))

    @classmethod
    def open(cls) -> "Plan":
        """Return the plan without a number that was named before.

        The first looks have most of the error rate, since most comparisons end there.
        """
        return cls((PlanStage(3, 10, 0.7), PlanStage(11, 30, 0.2), PlanStage(31, MAX_LOOK, 0.1)))

    @property
    def most(self) -> int:
        """Return the number of pairs at the last look: those that come later don't count."""
        return self.stages[-1].last

    def limits(self, n: int, level: float = ALPHA, side: Side = "both") -> dict[int, float]:
        """Return for each look up to n pairs the ordinary p value at which it rejects.

        Args:
            n: how many pairs there are
            level: the error rate of all looks together
            side: the alternative: a difference, one above or one below what is tested
        """
        return {
            look: _limit(stage, level * stage.part, side)
            for stage in self.stages
            if stage.first <= n
            for look in range(stage.first, min(stage.last, n) + 1)
        }

    def p_at(self, n: int, p: float | None) -> float | None:
        """Return the p value over all looks that the look after n pairs gives.

        Args:
            n: how many pairs there are
            p: the ordinary p value of that look, of a difference; None where nothing varies

        Returns:
            None where ``p`` is, or without a look after n pairs.
        """
        stage = next((stage for stage in self.stages if stage.first <= n <= stage.last), None)
        if p is None or stage is None:
            return None
        return min(1.0, float(_chances(stage, np.array(p), "both")) / stage.part)


def sequential_p(
    differences: Sequence[float], plan: Plan, null: float = 0.0, side: Side = "both"
) -> float:
    """Return the p value that is valid over all looks so far; 1 before the first.

    Args:
        differences: of the pairs, in the order in which they came
        plan: when somebody may look
        null: the difference under the null hypothesis
        side: the alternative: another difference, a greater or a smaller one
    """
    if not len(differences):
        return 1.0
    return float(sequential_ps(np.array([differences], np.float64), plan, null, side)[0, -1])


def sequential_ps(
    studies: np.ndarray, plan: Plan, null: float = 0.0, side: Side = "both"
) -> np.ndarray:
    """Return the p values (R, N) of many studies at once, after each number of pairs.

    Args:
        studies: differences (R, N), a row for each study
        plan: when somebody may look
        null: the difference under the null hypothesis
        side: the alternative: another difference, a greater or a smaller one

    Raises:
        ValueError: a difference is no number
    """
    if not np.isfinite(studies).all():
        raise ValueError("a difference of two runs is not finite: leave such pairs out")
    ps = np.ones(studies.shape)
    for stage in plan.stages:
        looks = range(stage.first, min(stage.last, studies.shape[1]) + 1)
        if looks:
            smallest = np.minimum.accumulate(_look_ps(studies, looks, null, side), axis=1)
            ps[:, looks[0] - 1 : looks[-1]] = _chances(stage, smallest, side) / stage.part
    return np.minimum.accumulate(np.minimum(ps, 1.0), axis=1)


def first_rejections(
    studies: np.ndarray, plan: Plan, null: float = 0.0, side: Side = "both", level: float = ALPHA
) -> np.ndarray:
    """Return for many studies at once the number of pairs at which each rejects; 0: never.

    Args:
        studies: differences (R, N), a row for each study
        plan: when somebody may look
        null: the difference under the null hypothesis
        side: the alternative: another difference, a greater or a smaller one
        level: the error rate of all looks together
    """
    rejects = sequential_ps(studies, plan, null, side) <= level
    return np.where(rejects.any(axis=1), rejects.argmax(axis=1) + 1, 0)


def equivalence_p(differences: Sequence[float], plan: Plan, margin: float) -> float:
    """Return the p value of a difference beyond the margin, on either side, over all looks.

    Two one-sided tests (Schuirmann 1987): both have to reject, so neither is corrected.

    Args:
        differences: of the pairs, in the order in which they came
        plan: when somebody may look
        margin: the least difference that counts, above 0
    """
    if not len(differences):
        return 1.0
    return float(equivalence_ps(np.array([differences], np.float64), plan, margin)[0, -1])


def equivalence_ps(studies: np.ndarray, plan: Plan, margin: float) -> np.ndarray:
    """Return ``equivalence_p`` (R, N) of many studies at once, after each number of pairs.

    Args:
        studies: differences (R, N), a row for each study
        plan: when somebody may look
        margin: the least difference that counts, above 0
    """
    larger: np.ndarray = np.maximum(
        sequential_ps(studies, plan, -margin, "greater"),
        sequential_ps(studies, plan, margin, "less"),
    )
    return larger


def sequential_interval(
    differences: Sequence[float], plan: Plan, level: float = ALPHA
) -> Interval | None:
    """Return the interval of the mean difference that holds at the moment of stopping.

    All looks' intervals together hold with 1 - ``level``; so does what they have in common. It
    excludes zero where ``sequential_p`` is at most ``level``. Once in a hundred studies the mean of
    all pairs lies outside of it. Looks that contradict each other, which is as rare as an error,
    have nothing in common: then it is the last one.

    Args:
        differences: of the pairs, in the order in which they came
        plan: when somebody may look
        level: the error rate of all looks together

    Returns:
        None before the first look, or where the differences do not vary.
    """
    from scipy.special import stdtrit

    intervals = []
    values = np.asarray(differences, np.float64)
    for look, p in plan.limits(len(values), level).items():
        if look > 1 and np.ptp(values[:look]) > EQUAL:
            error = values[:look].std(ddof=1) / math.sqrt(look)
            half_width = -float(stdtrit(look - 1, p / 2) * error)
            mean = float(values[:look].mean())
            intervals.append((mean - half_width, mean + half_width))
    if not intervals:
        return None
    low, high = max(low for low, _ in intervals), min(high for _, high in intervals)
    return (low, high) if low < high else intervals[-1]


def _look_ps(studies: np.ndarray, looks: range, null: float, side: Side) -> np.ndarray:
    """Return the ordinary p values (R, L) of Student's t test at each look, 1 without spread."""
    from scipy.special import stdtr

    columns, n = np.array(looks) - 1, np.array(looks)
    start = studies[:, :1]  # sums of small numbers stay exact
    sums = np.cumsum(studies - start, axis=1)[:, columns]
    squares = np.cumsum(np.square(studies - start), axis=1)[:, columns]
    ranges = np.maximum.accumulate(studies, axis=1) - np.minimum.accumulate(studies, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # without spread, which is 1 below
        errors = np.sqrt((squares - sums**2 / n) / (n - 1) / n)
        t = (start + sums / n - null) / errors
    if side == "both":
        ps = 2 * stdtr(n - 1.0, -np.abs(t))
    else:
        ps = stdtr(n - 1.0, -t if side == "greater" else t)
    return np.where(ranges[:, columns] > EQUAL, ps, 1.0)


def _chances(stage: PlanStage, ps: np.ndarray, side: Side) -> np.ndarray:
    """Return the chance of so small a p value at any look of a stage, without a difference."""
    n_looks = stage.last - stage.first + 1
    if n_looks == 1:
        return ps
    simulated = _simulate(stage.first, stage.last)[side != "both"]
    counts = np.searchsorted(simulated, ps) + 1
    chances = (counts + np.sqrt(counts)) / (len(simulated) + 1)  # a standard error on the safe side
    # the chances of all looks add up to more than that of any: exact where simulations are few
    smaller: np.ndarray = np.minimum(chances, n_looks * ps)
    return smaller


def _limit(stage: PlanStage, level: float, side: Side) -> float:
    """Return the largest p value of one look whose chance over the stage is at most ``level``."""
    n_looks = stage.last - stage.first + 1
    if n_looks == 1:
        return level
    simulated = _simulate(stage.first, stage.last)[side != "both"]
    # the largest number that with its root is at most the level's part of all
    count = int((math.sqrt(0.25 + level * (len(simulated) + 1)) - 0.5) ** 2)
    return max(float(simulated[count - 1]) if count else 0.0, level / n_looks)


@cache
def _simulate(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate studies without a difference.

    Returns:
        Their smallest p values over the looks, sorted: two-sided and one-sided ones.
    """
    draws = np.random.default_rng(0)
    chunks = [_smallest_ps(draws, first, last) for _ in range(N_STUDIES // _CHUNK)]
    two_sided, one_sided = np.sort(np.concatenate(chunks, axis=1), axis=1)
    return two_sided, one_sided


def _smallest_ps(draws: np.random.Generator, first: int, last: int) -> np.ndarray:
    """Return the smallest p values over the looks, two-sided and one-sided ones (2, _CHUNK)."""
    from scipy.special import stdtrit

    sums, squares = np.zeros((2, _CHUNK))
    two_sided, one_sided = smallest = np.ones((2, _CHUNK))
    for n in range(1, last + 1):
        values = draws.standard_normal(_CHUNK)
        sums += values
        squares += values * values
        if n >= first:
            t = sums / np.sqrt(n * (squares - sums * sums / n) / (n - 1))
            # ten times as fast as the distribution itself, and met within 0.01 %
            nodes = -stdtrit(n - 1.0, _TAILS)
            tails = np.exp(np.interp(np.abs(t), nodes, _LOG_TAILS))
            np.minimum(two_sided, 2 * tails, out=two_sided)
            np.minimum(one_sided, np.where(t > 0, tails, 1 - tails), out=one_sided)
    return smallest


def mean_speedup(log_ratios: Sequence[float], plan: Plan) -> tuple[float, Interval | None]:
    """Return how many times as fast runs are, the geometric mean of pairs, and its interval.

    Args:
        log_ratios: the logarithm of the other run's seconds over this one's, by pair
        plan: when somebody may look
    """
    interval = sequential_interval(log_ratios, plan)
    bounds = (math.exp(interval[0]), math.exp(interval[1])) if interval else None
    return math.exp(math.fsum(log_ratios) / len(log_ratios)), bounds
