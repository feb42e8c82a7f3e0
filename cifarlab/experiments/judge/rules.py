"""The judge's rules: pure functions from pairs of runs to a verdict.

A candidate is accepted at the level that the record book has left for its claim. It is rejected at
the usual 5 %: as a candidate that gains the margin or more (goal accuracy), or as one that is not
worse by the margin and faster by ``LEAST_SPEEDUP`` or more (goal time-to-accuracy) would be in at
most 5 % of races. All tests hold after each pair (stats/sequential.py).
"""

import math
from collections.abc import Sequence

from cifarlab.experiments.judge.claims import (
    CANDIDATE,
    INCUMBENT,
    Claim,
    Decision,
    Evidence,
    Lap,
)
from cifarlab.stats.paired import ALPHA, summarize
from cifarlab.stats.sequential import (
    FIRST_LOOK,
    Plan,
    equivalence_p,
    mean_speedup,
    sequential_interval,
    sequential_p,
)

LEAST_SPEEDUP = 0.02  # below which a candidate is called as fast
_POINT = 0.01


def decide(laps: Sequence[Lap], claim: Claim) -> Decision:
    """Return the verdict on a claim after these pairs."""
    plan, margin = Plan.up_to(claim.most), claim.margin * _POINT
    if not laps:
        return Decision()
    if claim.goal == "accuracy":
        return _judge_accuracy(laps, plan, margin, claim.level)
    return _judge_time(laps, plan, margin, claim.level)


def _judge_accuracy(laps: Sequence[Lap], plan: Plan, margin: float, level: float) -> Decision:
    differences = accuracy_differences(laps)
    p = {"better": sequential_p(differences, plan, 0.0, "greater")}
    if p["better"] <= level:
        return Decision(verdict="accepted", reason="better", p=p)
    if len(laps) >= FIRST_LOOK and all(lap.is_identical for lap in laps):
        reason = f"what was changed does nothing: the same predictions in all {len(laps)} pairs"
        return Decision(verdict="rejected", reason=reason, p=p)
    p["no gain of the margin"] = sequential_p(differences, plan, margin, "less")
    if p["no gain of the margin"] > ALPHA:
        return Decision(p=p)
    if sequential_p(differences, plan, 0.0, "less") <= ALPHA / 2:  # as the interval says it
        reason = "worse"
    elif equivalence_p(differences, plan, margin) <= ALPHA:
        reason = f"the same within {_points(margin)}"
    else:
        reason = f"no gain of {_points(margin)} or more"
    return Decision(verdict="rejected", reason=reason, p=p)


def _judge_time(laps: Sequence[Lap], plan: Plan, margin: float, level: float) -> Decision:
    differences, speedups = accuracy_differences(laps), log_speedups(laps)
    # the same bits have no spread to test, and are not worse
    is_identical = all(lap.is_identical for lap in laps)
    p = {
        "not worse": 0.0 if is_identical else sequential_p(differences, plan, -margin, "greater"),
        "worse": sequential_p(differences, plan, -margin, "less"),
    }
    if p["worse"] <= ALPHA / 2:  # one of two ways to be rejected
        return Decision(verdict="rejected", reason=f"worse by more than {_points(margin)}", p=p)
    if obstacle := next((lap.obstacle for lap in laps if lap.obstacle), ""):
        return Decision(reason=f"seconds can't be compared: {obstacle}", p=p)
    p["faster"] = sequential_p(speedups, plan, 0.0, "greater")
    p["not faster"] = sequential_p(speedups, plan, math.log1p(LEAST_SPEEDUP), "less")
    if max(p["not worse"], p["faster"]) <= level:
        reason = f"faster, and not worse by more than {_points(margin)}"
        return Decision(verdict="accepted", reason=reason, p=p)
    if p["not faster"] <= ALPHA / 2:
        is_slower = sequential_p(speedups, plan, 0.0, "less") <= ALPHA / 2
        reason = "slower" if is_slower else f"not faster by {100 * LEAST_SPEEDUP:g} % or more"
        return Decision(verdict="rejected", reason=reason, p=p)
    return Decision(p=p)


def accuracy_differences(laps: Sequence[Lap]) -> list[float]:
    """Return the candidate's accuracy minus the incumbent's, by pair."""
    return [lap.scores[CANDIDATE].accuracy - lap.scores[INCUMBENT].accuracy for lap in laps]


def log_speedups(laps: Sequence[Lap]) -> list[float]:
    """Return the logarithm of the incumbent's seconds over the candidate's, by pair."""
    return [math.log(lap.scores[INCUMBENT].seconds / lap.scores[CANDIDATE].seconds) for lap in laps]


def summarize_race(laps: Sequence[Lap], most: int, *, times_count: bool) -> Evidence:
    """Return what pairs show, with intervals that hold when they stop.

    Args:
        laps: the pairs
        most: pairs that were planned
        times_count: whether seconds are judged; else they may hold pauses and warming up
    """
    evidence, plan = Evidence(laps=list(laps)), Plan.up_to(most)
    if not laps:
        return evidence
    differences = accuracy_differences(laps)
    interval = sequential_interval(differences, plan)
    evidence.difference = sum(differences) / len(differences)
    evidence.difference_interval = list(interval) if interval else None
    if times_count and len(laps) > 1 and not any(lap.obstacle for lap in laps):
        evidence.speedup, interval = mean_speedup(log_speedups(laps), plan)
        evidence.speedup_interval = list(interval) if interval else None
    return evidence


def compare_with_record(
    name: str, recorded: Sequence[float], values: Sequence[float], level: float
) -> tuple[bool, str]:
    """Return whether new values may have the mean of the recorded ones, and a sentence about it.

    Student's t test of two samples. The spread is that of both together, since a race that has
    stopped early did so because its spread happened to be small.

    Args:
        name: what the values are
        recorded: the values that were recorded
        values: the new ones, two or more
        level: how often the same mean is taken for another one
    """
    from scipy.special import stdtrit

    samples = [summarize(recorded), summarize(values)]
    freedom = sum(sample.n - 1 for sample in samples)
    squares = sum((sample.n - 1) * (sample.std or 0.0) ** 2 for sample in samples)
    error = math.sqrt(squares / freedom * sum(1 / sample.n for sample in samples))
    half_width = -float(stdtrit(freedom, level / 2)) * error
    expected, mean = (sample.mean for sample in samples)
    low, high = expected - half_width, expected + half_width
    holds = low - 1e-9 <= mean <= high + 1e-9
    return holds, f"{name} {mean:.4g}, expected {low:.4g} to {high:.4g}"


def _points(margin: float) -> str:
    return f"{margin / _POINT:g} points"
