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
    CosineRestarts,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Plateau,
    Schedule,
    Step,
)


class Segment(NamedTuple):
    """``steps`` of training; ``mode`` says how the learning rate goes meanwhile (see recipe.schema.Extension)."""

    steps: int
    mode: Literal["planned", "hold", "restart", "stretch"]


def lr_factor(
    schedule: Schedule, step: int, segments: Sequence[Segment], steps_per_epoch: int
) -> float:
    """The factor at ``step`` of a run of these segments; the first is the planned one."""
    start = 0
    for segment in segments:
        end = start + segment.steps
        if step < end:
            if segment.mode == "hold":
                return lr_factor(schedule, start - 1, segments, steps_per_epoch)
            if segment.mode == "restart":
                return _planned_factor(schedule, step - start, segment.steps, steps_per_epoch)
            return _planned_factor(schedule, step, end, steps_per_epoch)
        start = end
    raise ValueError(f"step {step} lies behind the run's {start} steps")


def _planned_factor(schedule: Schedule, step: int, total: int, steps_per_epoch: int) -> float:
    """The factor at ``step`` of a run planned to take ``total`` steps."""
    warmup = schedule.warmup.in_steps(steps_per_epoch, total)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    match schedule:
        case Constant() | Plateau():
            return 1.0
        case Step():
            return schedule.gamma ** (step // max(1, schedule.step_size.in_steps(steps_per_epoch)))
        case MultiStep():
            milestones = (m.in_steps(steps_per_epoch, total) for m in schedule.milestones)
            return schedule.gamma ** sum(step >= milestone for milestone in milestones)
        case Exponential():
            return schedule.gamma ** (step // steps_per_epoch)
        case Linear():
            return 1 - (1 - schedule.end_factor) * progress
        case Cosine():
            return _half_cosine(1, schedule.end_factor, progress)
        case CosineRestarts():
            period = max(1, schedule.period.in_steps(steps_per_epoch))
            return _restarts_factor(schedule, step - warmup, period)
        case OneCycle():
            if progress < schedule.pct_start:
                return _half_cosine(schedule.start_factor, 1, progress / schedule.pct_start)
            return _half_cosine(
                1, schedule.end_factor, (progress - schedule.pct_start) / (1 - schedule.pct_start)
            )


def _half_cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from ``start`` at 0 to ``end`` at 1."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _restarts_factor(schedule: CosineRestarts, step: int, period: int) -> float:
    """The factor ``step`` steps after the first cosine's start, which takes ``period`` steps."""
    cycle, length = 0, period
    while step >= length:
        step -= length
        cycle += 1
        length = round(period * schedule.cycle_mul**cycle)
    return schedule.cycle_decay**cycle * _half_cosine(1, schedule.end_factor, step / length)
