"""What may be concluded of paired differences under a plan, for several rows at once.

Sequential p values hold at any look of the plan, and so does Holm's correction of them over the
rows: a row without a look so far counts with p = 1, which can only fall. Of studies in which no row
differs from the baseline, at most 5 % call one better or worse; of studies in which each row
differs by the margin or more, at most 5 % call one the same.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cifarlab.metrics.kinds import MetricFacts
from cifarlab.stats.paired import ALPHA, PairedComparison, Summary, compare_pairs, holm
from cifarlab.stats.sequential import Plan, equivalence_p, sequential_interval, sequential_p

UNDECIDED = "undecided"
_DECISIONS = ("better", "worse", "the same within ")


class PairTest(NamedTuple):
    """Pairs whose p and interval hold under the plan, and the p value of a larger difference.

    The p values are None where the differences do not vary, or no look was taken so far.
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
    """Return the tests of pairs, which are in the order in which they came.

    Args:
        ours: the row's values
        baseline: the baseline's values of the same seeds
        plan: when somebody may look
        margin: below which a difference counts as none
    """
    pairs = compare_pairs(ours, baseline)
    differences = [a - b for a, b in zip(ours, baseline, strict=True)]
    pairs = pairs._replace(difference=with_interval(pairs.difference, differences, plan))
    if pairs.p is None or not plan.limits(len(differences)):
        return PairTest(pairs._replace(p=None))
    same_p = None if margin is None else equivalence_p(differences, plan, margin)
    return PairTest(pairs._replace(p=sequential_p(differences, plan)), same_p)


def with_interval(summary: Summary, values: Sequence[float], plan: Plan) -> Summary:
    """Return a summary with the interval of the mean that holds under the plan.

    Args:
        summary: of the values
        values: in the order in which they came
        plan: when somebody may look
    """
    return summary._replace(interval=sequential_interval(values, plan)) if summary.std else summary


def correct(ps: Mapping[str, float | None], n_tests: int) -> dict[str, float]:
    """Return by row the known p values, corrected for ``n_tests`` rows by Holm's method."""
    p_by_row = {row: p for row, p in ps.items() if p is not None}
    all_ps = [*p_by_row.values(), *[1.0] * (n_tests - len(p_by_row))]
    return dict(zip(p_by_row, holm(all_ps), strict=False))


def find_verdict(
    difference: Summary,
    p: float | None,
    same_p: float | None,
    margin: float | None,
    metric: MetricFacts,
) -> str:
    """Return the conclusion about a row against the baseline.

    Args:
        difference: of the pairs
        p: of no difference, corrected for all rows
        same_p: of a difference beyond the margin, corrected for all rows
        margin: below which a difference counts as none
        metric: name, direction and unit of the metric
    """
    if difference.std is None:
        return "one pair of runs: no test is possible"
    if difference.std == 0:
        if abs(difference.mean) < 1e-9:
            return "no difference: equal in every pair"
        points = f"{metric.number(difference.mean, '+')}{' points' if metric.percent else ''}"
        return f"{points} in every pair: without spread, no test"
    if p is not None and p <= ALPHA:
        center = sum(difference.interval or (difference.mean,))  # later looks may differ in sign
        return "better" if metric.sign * center > 0 else "worse"
    if margin is not None and same_p is not None and same_p <= ALPHA:
        return f"the same within {describe_margin(margin, metric)}"
    return UNDECIDED


def describe_margin(margin: float, metric: MetricFacts) -> str:
    """Return a margin with its unit: 0.002 of an accuracy as ``0.2 points``."""
    return f"{metric.factor * margin:g}{' points' if metric.percent else ''}"


def describe_plan(plan: Plan) -> str:
    """Return in a sentence when somebody may look, and what holds then."""
    if is_single_look(plan):
        seeds = "1 seed" if plan.most == 1 else f"{plan.most} seeds"
        return f"Plan: one look, after {seeds}; p by the paired t test, intervals by Student's t."
    when = f"after each pair from {plan.stages[0].first} to {plan.most}"
    if len(plan.stages) == 1:
        return f"Plan: a look {when}; p and intervals hold at each of them, the last one too."
    return f"No plan holds here: p and intervals hold at any look {when}."
