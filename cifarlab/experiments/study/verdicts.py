"""What may be concluded of paired differences under a plan, for several rows at once.

Sequential p values hold at any look of the plan, and so does Holm's correction of them over the
rows: a row without a look so far counts with p = 1, which can only fall. At most 5 % of studies
call a row better or worse that does not differ from the baseline; at most 5 % call one the same
that differs by the margin or more.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cifarlab.metrics.kinds import MetricFacts
from cifarlab.stats.paired import ALPHA, EQUAL, PairedComparison, Summary, compare_pairs, holm
from cifarlab.stats.sequential import (
    FIRST_LOOK,
    Plan,
    equivalence_p,
    sequential_interval,
    sequential_p,
    sequential_ps,
)

UNDECIDED = "undecided"
_DECISIONS = ("better", "worse", "the same")


class PairTest(NamedTuple):
    """Pairs whose p and interval hold under the plan, and the p value of a larger difference.

    The p values are None where the differences do not vary, or no look was taken so far. Values
    that are equal in every pair of three or more have no difference beyond any margin.
    """

    pairs: PairedComparison
    equivalence_p: float | None = None


def is_decision(verdict: str) -> bool:
    """Return whether a verdict ends a row: it is better, worse or the same."""
    return verdict.startswith(_DECISIONS)


def is_single_look(plan: Plan) -> bool:
    """Return whether a plan has one look, as that of a fixed number of seeds."""
    return len(plan.stages) == 1 and plan.stages[0].first == plan.most


def fit_plan(plan: Plan, n: int, is_complete: bool) -> Plan:
    """Return the plan for n values: a single look is taken when no more can come, at what is there.

    Args:
        plan: the study's
        n: how many values there are
        is_complete: whether no more can come
    """
    return Plan.once(n) if n > 1 and is_complete and is_single_look(plan) else plan


def evaluate_pairs(
    ours: Sequence[float], baseline: Sequence[float], plan: Plan, margin: float | None
) -> PairTest:
    """Return the tests of pairs, which are in the order in which they came, to the last look.

    Args:
        ours: the row's values
        baseline: the baseline's values of the same seeds
        plan: when somebody may look
        margin: below which a difference counts as none
    """
    ours, baseline = ours[: plan.most], baseline[: plan.most]
    pairs = compare_pairs(ours, baseline)
    differences = [a - b for a, b in zip(ours, baseline, strict=True)]
    pairs = pairs._replace(difference=with_interval(pairs.difference, differences, plan))
    if not plan.limits(len(differences)):
        return PairTest(pairs._replace(p=None))
    if pairs.p is None:
        is_same = len(differences) >= FIRST_LOOK and _is_equal(pairs.difference)
        return PairTest(pairs, 0.0 if is_same else None)
    same_p = None if margin is None else equivalence_p(differences, plan, margin)
    return PairTest(pairs._replace(p=sequential_p(differences, plan)), same_p)


def _is_equal(difference: Summary) -> bool:
    """Return whether all differences are none, but for how fractions are rounded."""
    return difference.std == 0 and abs(difference.mean) < EQUAL


def with_interval(summary: Summary, values: Sequence[float], plan: Plan) -> Summary:
    """Return a summary with the interval of the mean that holds under the plan.

    Args:
        summary: of the values
        values: in the order in which they came
        plan: when somebody may look
    """
    return summary._replace(interval=sequential_interval(values, plan))


def correct(ps: Mapping[str, float | None], n_tests: int) -> dict[str, float]:
    """Return by row the known p values, corrected for ``n_tests`` rows by Holm's method."""
    p_by_row = {row: p for row, p in ps.items() if p is not None}
    all_ps = [*p_by_row.values(), *[1.0] * (n_tests - len(p_by_row))]
    return dict(zip(p_by_row, holm(all_ps).tolist(), strict=False))


def find_verdict(
    pairs: PairedComparison,
    differences: Sequence[float],
    plan: Plan,
    ps: tuple[float | None, float | None],
    margin: float | None,
    metric: MetricFacts,
) -> str:
    """Return the conclusion about a row against the baseline.

    Args:
        pairs: the row's
        differences: of the pairs, in the order in which they came
        plan: when somebody may look
        ps: of no difference, and of one beyond the margin, each corrected for all rows
        margin: below which a difference counts as none
        metric: name, direction and unit of the metric
    """
    p, same_p = ps
    if pairs.difference.std is None:
        return "one pair of runs: no test is possible"
    is_same = same_p is not None and same_p <= ALPHA
    if p is not None and p <= ALPHA:
        factor = p / pairs.p if pairs.p else 1.0  # Holm's
        mean = _decisive_mean(differences, plan, ALPHA / factor)
        direction = "better" if metric.sign * mean > 0 else "worse"
        less = f", by less than {describe_margin(margin, metric)}" if is_same and margin else ""
        return direction + less
    if is_same:
        within = f" within {describe_margin(margin, metric)}" if margin else ": equal in every pair"
        return f"the same{within}"
    if pairs.difference.std == 0:
        return _describe_constant(pairs.difference, metric)
    return UNDECIDED


def _describe_constant(difference: Summary, metric: MetricFacts) -> str:
    if _is_equal(difference):
        return f"equal in each of {difference.n} pairs: no test"
    points = f"{metric.number(difference.mean, '+')}{' points' if metric.percent else ''}"
    return f"{points} in every pair: without spread, no test"


def _decisive_mean(differences: Sequence[float], plan: Plan, level: float) -> float:
    """Return the mean at the first look that rejects: later ones may differ in sign."""
    ps = sequential_ps(np.array([differences], np.float64), plan)[0]
    n = int(np.argmax(ps <= max(level, ps[-1]))) + 1
    return float(np.mean(differences[:n]))


def describe_margin(margin: float, metric: MetricFacts) -> str:
    """Return a margin with its unit: 0.002 of an accuracy as ``0.2 points``."""
    number = f"{metric.factor * margin:g}"
    return f"{number} {'point' if number == '1' else 'points'}" if metric.percent else number


def describe_plan(plan: Plan) -> str:
    """Return in a sentence when somebody may look, and what holds then."""
    if is_single_look(plan):
        seeds = "1 seed" if plan.most == 1 else f"{plan.most} seeds"
        return f"Plan: one look, after {seeds}; p by the paired t test, intervals by Student's t."
    when = f"after each pair from {plan.stages[0].first} to {plan.most}"
    if len(plan.stages) == 1:
        return f"Plan: a look {when}; p and intervals hold at each of them, the last one too."
    return f"No plan holds here: p and intervals hold at any look {when}."
