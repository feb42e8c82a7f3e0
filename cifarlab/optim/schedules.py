# ruff: noqa: D102  # what a kind answers is described in the base
"""Learning-rate schedules: one class for each kind, a pure function of the step.

It is a factor on the peak learning rate. A step counts from 0; its factor holds for the update
that it makes. A run is one planned segment and whatever ``--extend`` added to it. What a schedule
makes of the validation is no function of the step: it is in a ``ScheduleState``, which the
checkpoint has.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import Fraction
from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family
from cifarlab.config.findings import Finding, RunLength
from cifarlab.metrics.kinds import LogLoss, Metric, MetricConfig

Floor = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, lt=1)]

EARLY = 0.1  # fraction of the run in which no schedule should be through
SPENT = 2e-3  # factor on the peak learning rate at which hardly anything is learned any more
_POINTS = 100  # of a run, at which a schedule is asked for its factor


class Segment(NamedTuple):
    """``steps`` of training; ``mode`` says what the learning rate does (schema.Extension)."""

    steps: int
    mode: Literal["planned", "hold", "restart", "stretch"]


class ScheduleState(NamedTuple):
    """What a schedule made of the epochs' validation so far.

    ``factor`` is on the learning rate, beside the schedule's own; ``last_factor`` that of the epoch
    just trained; ``seen`` what it remembers.
    """

    factor: float = 1.0
    last_factor: float = 1.0
    seen: Mapping[str, float] = {}

    def start_segment(self, mode: str) -> "ScheduleState":
        """Return the state that a segment of the run starts with; ``mode`` is Segment's.

        ``hold`` keeps the last learning rate: what the last epoch's loss took off it is given back.
        """
        if mode == "restart":
            return ScheduleState()
        return self._replace(factor=self.last_factor) if mode == "hold" else self


class ScheduleConfig(Family):
    """What all schedules share. A kind says ``factor_at``, and ``react`` where it watches."""

    needs_validation: ClassVar[bool] = False  # whether ``react`` does anything
    later: ClassVar[str] = "let the learning rate fall later"  # what helps where it is spent early

    warmup: Duration = Field(
        Duration.parse("0 epochs"), description="linear rise from 0 to the peak before the rest"
    )
    final_momentum: Fraction | None = Field(
        None,
        description="momentum moves linearly from the optimizer's to this one over the run; "
        "null: it stays",
    )

    @abstractmethod
    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return the factor at ``step``, behind the warm-up, of a run of ``total`` steps."""

    @property
    def watched_metric(self) -> MetricConfig:
        """The metric of the validation images that ``react`` gets."""
        return LogLoss()

    def react(self, state: ScheduleState, value: float) -> ScheduleState:
        """Return the state after an epoch of that value of the watched metric."""
        return state

    def after_epoch(self, state: ScheduleState, value: float) -> ScheduleState:
        """Return ``react``'s answer, which also holds the factor that the epoch was trained at."""
        return self.react(state, value)._replace(last_factor=state.factor)

    def after_warmup(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return the fraction of what follows the warm-up that is done at ``step``."""
        warmup = self.warmup.in_steps(steps_per_epoch, total)
        return (step - warmup) / max(1, total - warmup)

    def planned_factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return the factor at ``step`` of a run planned to take ``total`` steps."""
        warmup = self.warmup.in_steps(steps_per_epoch, total)
        if step < warmup:
            return (step + 1) / warmup
        return self.factor_at(step, total, steps_per_epoch)

    def factors_from(self, start: int, total: int, steps_per_epoch: int) -> list[float]:
        """Return the factors at some steps of a run: ``start``, its last, and between."""
        stride = max(1, (total - start) // _POINTS)
        steps = {*range(start, total, stride), total - 1}
        return [self.factor_at(step, total, steps_per_epoch) for step in sorted(steps)]

    def is_constant(self, total: int, steps_per_epoch: int) -> bool:
        """Return whether nothing but validation moves the learning rate behind the warm-up."""
        start = min(self.warmup.in_steps(steps_per_epoch, total), total - 1)
        return len(set(self.factors_from(start, total, steps_per_epoch))) == 1

    def lint(self, length: RunLength) -> Iterator[Finding]:
        """Yield what ``Family.lint`` does: a learning rate that never rises, or is spent early."""
        total, per_epoch = length.planned_steps, length.steps_per_epoch
        warmup = self.warmup.in_steps(per_epoch, total)
        if warmup >= total:
            yield Finding(
                f"schedule.warmup lasts {warmup:,} steps, the run {total:,}",
                "the learning rate only ever rises and never reaches its peak; what follows the "
                "warm-up is never run (Goyal et al. 2017, section 2.2: 5 epochs, of 90)",
                "shorten schedule.warmup, e.g. to '0.05 of the run'",
            )
        left = max(self.factors_from(math.floor(EARLY * total), total, per_epoch))
        if left <= SPENT:
            yield Finding(
                f"after a tenth of the run the learning rate is {left:.1g} of its peak "
                f"(schedule.kind={self.kind})",
                "the rest of the run hardly moves the weights: kth2024's step decay reached "
                "64.42 % where the same network had 87.82 % at a constant learning rate",
                f"{self.later}, or shorten training.duration",
            )


def lr_factor(
    schedule: ScheduleConfig, step: int, segments: Sequence[Segment], steps_per_epoch: int
) -> float:
    """Return the factor at ``step`` of a run of these segments; the first is the planned one."""
    start = 0
    for segment in segments:
        end = start + segment.steps
        if step < end:
            if segment.mode == "hold":
                return lr_factor(schedule, start - 1, segments, steps_per_epoch)
            if segment.mode == "restart":
                return schedule.planned_factor(step - start, segment.steps, steps_per_epoch)
            return schedule.planned_factor(step, end, steps_per_epoch)
        start = end
    raise ValueError(f"step {step} lies behind the run's {start} steps")


def _half_cosine(start: float, end: float, progress: float) -> float:
    """Return half a cosine from ``start`` at 0 to ``end`` at 1."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


class Constant(ScheduleConfig):
    """The peak learning rate throughout."""

    kind: Literal["constant"] = "constant"

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return 1.0


class MultiStep(ScheduleConfig):
    """The learning rate is multiplied by ``gamma`` at each milestone, from the run's start."""

    kind: Literal["multistep"] = "multistep"
    milestones: tuple[Duration, ...] = Field(
        (Duration.parse("0.5 of the run"), Duration.parse("0.75 of the run")),
        min_length=1,
        description="when, counted from the run's start",
    )
    gamma: Factor = Field(0.1, description="what it is multiplied by")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        milestones = (m.in_steps(steps_per_epoch, total) for m in self.milestones)
        return self.gamma ** sum(step >= milestone for milestone in milestones)

    def first_acts(self, length: RunLength) -> dict[str, int]:
        per_epoch, total, _ = length
        steps = (m.in_steps(per_epoch, total) for m in self.milestones)
        return {f"milestones.{index}": step for index, step in enumerate(steps)}

    def lint(self, length: RunLength) -> Iterator[Finding]:
        last, total = max(self.first_acts(length).values()), length.planned_steps
        if last > EARLY * total:
            yield from super().lint(length)
            return
        yield Finding(
            f"schedule.milestones end at step {last:,} of {total:,}, {100 * last / total:.1f} % "
            "of the run",
            "from there on the learning rate is at its lowest: kth2024 set its boundaries so, in "
            "steps, and reached 64.42 % where the same network had 87.82 % without a schedule",
            "write them as fractions, e.g. schedule.milestones=[0.5 of the run, 0.75 of the run]",
        )


class Exponential(ScheduleConfig):
    """The learning rate is multiplied by ``gamma`` after each epoch (fudan, section 2.1)."""

    later: ClassVar[str] = "raise schedule.gamma"
    kind: Literal["exponential"] = "exponential"
    gamma: Annotated[float, Field(gt=0, le=1)] = Field(0.9, description="factor per epoch")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return self.gamma ** (step // steps_per_epoch)

    def first_acts(self, length: RunLength) -> dict[str, int]:
        return {"gamma": length.steps_per_epoch}

    def scaled(self, scale: float) -> dict[str, Any]:
        return {"gamma": self.gamma ** (1 / scale)}


class Cosine(ScheduleConfig):
    """Half a cosine from the peak to ``end_factor`` (Loshchilov & Hutter 2017, one cycle)."""

    kind: Literal["cosine"] = "cosine"
    end_factor: Floor = Field(0.0, description="final learning rate as a fraction of the peak")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return _half_cosine(1, self.end_factor, self.after_warmup(step, total, steps_per_epoch))


class Linear(ScheduleConfig):
    """A straight line from the peak to ``end_factor``."""

    kind: Literal["linear"] = "linear"
    end_factor: Floor = Field(0.0, description="final learning rate as a fraction of the peak")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return 1 - (1 - self.end_factor) * self.after_warmup(step, total, steps_per_epoch)


class Step(ScheduleConfig):
    """The learning rate is multiplied by ``gamma`` every so often, counted from the run's start."""

    later: ClassVar[str] = "raise schedule.step_size"
    kind: Literal["step"] = "step"
    step_size: Length = Field(Duration.parse("20 epochs"), description="how often")
    gamma: Factor = Field(0.1, description="what it is multiplied by")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return self.gamma ** (step // max(1, self.step_size.in_steps(steps_per_epoch)))

    def first_acts(self, length: RunLength) -> dict[str, int]:
        return {"step_size": self.step_size.in_steps(length.steps_per_epoch)}


class CosineRestarts(ScheduleConfig):
    """Cosines from the peak to ``end_factor``, one after another (Loshchilov & Hutter 2017)."""

    later: ClassVar[str] = "raise schedule.cycle_decay"
    kind: Literal["cosine_restarts"] = "cosine_restarts"
    period: Length = Field(Duration.parse("10 epochs"), description="length of the first cosine")
    cycle_mul: Annotated[float, Field(ge=1)] = Field(
        1.0, description="each is that much longer than the one before"
    )
    cycle_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="each starts at that fraction of the start of the one before"
    )
    end_factor: Floor = Field(
        0.0, description="learning rate at the end of the first as a fraction of the peak"
    )

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        step -= self.warmup.in_steps(steps_per_epoch, total)
        period = max(1, self.period.in_steps(steps_per_epoch))
        cycle, length = 0, period
        while step >= length:
            step -= length
            cycle += 1
            length = round(period * self.cycle_mul**cycle)
        return self.cycle_decay**cycle * _half_cosine(1, self.end_factor, step / length)

    def first_acts(self, length: RunLength) -> dict[str, int]:
        per_epoch, total, _ = length
        second = self.warmup.in_steps(per_epoch, total) + self.period.in_steps(per_epoch)
        return {key: second for key in ("cycle_mul", "cycle_decay") if getattr(self, key) != 1}


class OneCycle(ScheduleConfig):
    """From ``start_factor`` up to the peak, down to ``end_factor``: half cosines (Smith 2018)."""

    kind: Literal["onecycle"] = "onecycle"
    pct_start: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="fraction of the time after the warm-up at which the peak is reached"
    )
    start_factor: Floor = Field(0.04, description="first learning rate as a fraction of the peak")
    end_factor: Floor = Field(4e-6, description="final learning rate as a fraction of the peak")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        progress, top = self.after_warmup(step, total, steps_per_epoch), self.pct_start
        if progress < top:
            return _half_cosine(self.start_factor, 1, progress / top)
        return _half_cosine(1, self.end_factor, (progress - top) / (1 - top))


class Plateau(ScheduleConfig):
    """The learning rate is multiplied by ``factor`` when the validation loss has stopped falling.

    After ``patience`` epochs in a row without a loss below (1 - ``threshold``) times the least one
    so far, the next epoch has the lower learning rate; of a ``monitor`` of which more is better,
    above (1 + ``threshold``) times the highest.
    """

    needs_validation: ClassVar[bool] = True
    kind: Literal["plateau"] = "plateau"
    monitor: Metric = Field(LogLoss(), description="what is watched, on the validation images")
    factor: Factor = Field(0.1, description="what the learning rate is multiplied by")
    patience: int = Field(
        10, ge=0, description="epochs without improvement that are borne; the next one lowers"
    )
    threshold: Annotated[float, Field(ge=0, lt=1)] = Field(
        1e-4, description="fraction by which it must change to count as improved"
    )
    min_factor: Floor = Field(0.0, description="least learning rate as a fraction of the peak")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return 1.0

    @property
    def watched_metric(self) -> MetricConfig:
        return self.monitor

    def react(self, state: ScheduleState, value: float) -> ScheduleState:
        best, bad_epochs = state.seen.get("best"), state.seen.get("bad_epochs", 0)
        sign = 1 if self.monitor.higher_is_better else -1
        needed = None if best is None else (1 + sign * self.threshold) * best
        if best is None or self.monitor.is_better(value, needed):
            return state._replace(seen={"best": value, "bad_epochs": 0})
        if bad_epochs < self.patience:
            return state._replace(seen={"best": best, "bad_epochs": bad_epochs + 1})
        lower = max(self.min_factor, state.factor * self.factor)
        return state._replace(factor=lower, seen={"best": best, "bad_epochs": 0})

    def first_acts(self, length: RunLength) -> dict[str, int]:
        # the first epoch sets the best value, then patience, and one that lowers
        return {"patience": (self.patience + 2) * length.steps_per_epoch}

    def scaled(self, scale: float) -> dict[str, Any]:
        return {"patience": round(self.patience * scale)}


Schedule = SerializeAsAny[ScheduleConfig]
