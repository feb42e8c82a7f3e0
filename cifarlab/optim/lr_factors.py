"""Learning-rate schedules: pure functions of the step, as a factor on the peak rate.

A step counts from 0; its factor holds for the update that it makes. A run is one planned segment
and whatever ``--extend`` added to it. What a plateau takes off the rate is no function of the
step: see ``optim/plateau.py``.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from cifarlab.optim.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Plateau,
    Restarts,
    Schedule,
    Step,
)


class Segment(NamedTuple):
    """``steps`` of training; ``how`` the rate goes meanwhile (see recipe.schema.Extension)."""

    steps: int
    how: Literal["planned", "hold", "restart", "stretch"]


def factor(
    schedule: Schedule, step: int, segments: Sequence[Segment], steps_per_epoch: int
) -> float:
    """The factor at ``step`` of a run of these segments; the first is the planned one."""
    start = 0
    for segment in segments:
        end = start + segment.steps
        if step < end:
            if segment.how == "hold":
                return factor(schedule, start - 1, segments, steps_per_epoch)
            if segment.how == "restart":
                return _planned(schedule, step - start, segment.steps, steps_per_epoch)
            return _planned(schedule, step, end, steps_per_epoch)
        start = end
    raise ValueError(f"step {step} lies behind the run's {start} steps")


def _planned(schedule: Schedule, step: int, total: int, steps_per_epoch: int) -> float:
    """The factor at ``step`` of a run planned to take ``total`` steps."""
    warmup = schedule.warmup.in_steps(steps_per_epoch, total)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    match schedule:
        case Constant() | Plateau():
            return 1.0
        case Step():
            return schedule.factor ** (step // max(1, schedule.every.in_steps(steps_per_epoch)))
        case MultiStep():
            milestones = (m.in_steps(steps_per_epoch, total) for m in schedule.milestones)
            return schedule.factor ** sum(step >= milestone for milestone in milestones)
        case Exponential():
            return schedule.factor ** (step // steps_per_epoch)
        case Linear():
            return 1 - (1 - schedule.final) * done
        case Cosine():
            return _cosine(1, schedule.final, done)
        case Restarts():
            period = max(1, schedule.period.in_steps(steps_per_epoch))
            return _restarts(schedule, step - warmup, period)
        case OneCycle():
            if done < schedule.rise:
                return _cosine(schedule.start, 1, done / schedule.rise)
            return _cosine(1, schedule.final, (done - schedule.rise) / (1 - schedule.rise))


def _cosine(start: float, end: float, done: float) -> float:
    """Half a cosine from ``start`` at 0 to ``end`` at 1."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _restarts(schedule: Restarts, step: int, period: int) -> float:
    """The factor ``step`` steps after the first cosine's start, which takes ``period`` steps."""
    number, length = 0, period
    while step >= length:
        step -= length
        number += 1
        length = round(period * schedule.growth**number)
    return schedule.peak**number * _cosine(1, schedule.final, step / length)
