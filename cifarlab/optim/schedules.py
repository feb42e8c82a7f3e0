# ruff: noqa: D102  # the methods of kinds are described in the base
"""Learning-rate schedules: one class for each kind, a pure function of the step.

Its value is a factor on the peak learning rate, for the update of that step; steps count from 0. A
run is one planned segment, and those that ``--extend`` added. A schedule's reaction to validation
is no function of the step: it is kept in a ``ScheduleState``, which the checkpoint has.
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

EARLY_FRACTION = 0.1  # of the run, in which no schedule should end
SPENT_FACTOR = 2e-3  # on the peak learning rate, at which the network hardly learns any more
_POINTS = 100  # of a run, at which ``factors_from`` reads the factor


class Segment(NamedTuple):
    """A number of steps; ``mode`` and ``start`` say how it goes on (schema.Extension)."""

    steps: int
    mode: Literal["planned", "hold", "restart", "stretch"]
    start: Literal["last", "best"] = "last"


class ScheduleState(NamedTuple):
    """A schedule's reaction to the validation of the epochs so far.

    ``factor`` is on the learning rate, beside the schedule's own; ``last_factor`` that of the last
    epoch; ``memory`` what ``react`` stores, numbers by name.
    """

    factor: float = 1.0
    last_factor: float = 1.0
    memory: Mapping[str, float] = {}

    def start_segment(self, mode: str) -> "ScheduleState":
        """Return the state that a segment of the run starts with; ``mode`` is Segment's.

        ``hold`` keeps the learning rate of the last epoch, without the reaction to that epoch.
        """
        if mode == "restart":
            return ScheduleState()
        return self._replace(factor=self.last_factor) if mode == "hold" else self


class ScheduleConfig(Family):
    """What all schedules share. A kind has the method ``factor_at``, and may have ``react``."""

    needs_validation: ClassVar[bool] = False  # whether ``react`` does anything
    decay_advice: ClassVar[str] = "let the learning rate fall later"  # for lint

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
        """Return the factor at a step behind the warm-up.

        Args:
            step: counted from 0
            total: the run's number of steps
            steps_per_epoch: optimizer steps of an epoch
        """

    @property
    def watched_metric(self) -> MetricConfig:
        """The metric of the validation images whose value ``react`` gets."""
        return LogLoss()

    def react(self, state: ScheduleState, value: float) -> ScheduleState:
        """Return the state after an epoch with that value of the watched metric."""
        return state

    def update_state(self, state: ScheduleState, value: float) -> ScheduleState:
        """Return the state from ``react``, with the factor that the epoch was trained at."""
        return self.react(state, value)._replace(last_factor=state.factor)

    def progress_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return the completed fraction, at a step, of the run behind the warm-up.

        Args:
            step: counted from 0
            total: the run's number of steps
            steps_per_epoch: optimizer steps of an epoch
        """
        warmup = self.warmup.in_steps(steps_per_epoch, total)
        return (step - warmup) / max(1, total - warmup)

    def planned_factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return the factor at a step, with the warm-up.

        Args:
            step: counted from 0
            total: the run's planned number of steps
            steps_per_epoch: optimizer steps of an epoch
        """
        warmup = self.warmup.in_steps(steps_per_epoch, total)
        if step < warmup:
            return (step + 1) / warmup
        return self.factor_at(step, total, steps_per_epoch)

    def factors_from(self, start: int, total: int, steps_per_epoch: int) -> list[float]:
        """Return the factors at about a hundred steps of a run.

        Args:
            start: the first of these steps
            total: the run's number of steps; the last one is among them
            steps_per_epoch: optimizer steps of an epoch
        """
        stride = max(1, (total - start) // _POINTS)
        steps = {*range(start, total, stride), total - 1}
        return [self.factor_at(step, total, steps_per_epoch) for step in sorted(steps)]

    def is_constant(self, total: int, steps_per_epoch: int) -> bool:
        """Return whether only validation changes the learning rate behind the warm-up."""
        start = min(self.warmup.in_steps(steps_per_epoch, total), total - 1)
        return len(set(self.factors_from(start, total, steps_per_epoch))) == 1

    def lint(self, length: RunLength) -> Iterator[Finding]:
        """Yield findings on a warm-up that never ends and a learning rate that falls too early."""
        total, per_epoch = length.planned_steps, length.steps_per_epoch
        warmup = self.warmup.in_steps(per_epoch, total)
        if warmup >= total:
            yield Finding(
                f"schedule.warmup lasts {warmup:,} steps, the run {total:,}",
                "the learning rate only ever rises and never reaches its peak; what follows the "
                "warm-up is never run (Goyal et al. 2017, section 2.2: 5 epochs, of 90)",
                "shorten schedule.warmup, e.g. to '0.05 of the run'",
            )
        left = max(self.factors_from(math.floor(EARLY_FRACTION * total), total, per_epoch))
        if left <= SPENT_FACTOR:
            yield Finding(
                f"after a tenth of the run the learning rate is {left:.1g} of its peak "
                f"(schedule.kind={self.kind})",
                "the rest of the run hardly moves the weights: kth2024's step decay reached "
                "64.42 % where the same network had 87.82 % at a constant learning rate",
                f"{self.decay_advice}, or shorten training.duration",
            )


def find_segment(segments: Sequence[Segment], step: int) -> tuple[int, Segment]:
    """Return the first step of the segment that ``step`` is in, and that segment.

    Raises:
        ValueError: for a step behind the last segment
    """
    first = 0
    for segment in segments:
        if step < first + segment.steps:
            return first, segment
        first += segment.steps
    raise ValueError(f"step {step} lies behind the run's {first} steps")


def lr_factor(
    schedule: ScheduleConfig, step: int, segments: Sequence[Segment], steps_per_epoch: int
) -> float:
    """Return the factor on the peak learning rate at a step of a run.

    Args:
        schedule: the recipe's part
        step: counted from 0
        segments: the planned one, then the extensions
        steps_per_epoch: optimizer steps of an epoch

    Raises:
        ValueError: for a step behind the last segment
    """
    start, segment = find_segment(segments, step)
    if segment.mode == "hold":
        return lr_factor(schedule, start - 1, segments, steps_per_epoch)
    if segment.mode == "restart":
        return schedule.planned_factor(step - start, segment.steps, steps_per_epoch)
    return schedule.planned_factor(step, start + segment.steps, steps_per_epoch)


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
        if last > EARLY_FRACTION * total:
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

    decay_advice: ClassVar[str] = "raise schedule.gamma"
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
        return _half_cosine(1, self.end_factor, self.progress_at(step, total, steps_per_epoch))


class Linear(ScheduleConfig):
    """A straight line from the peak to ``end_factor``."""

    kind: Literal["linear"] = "linear"
    end_factor: Floor = Field(0.0, description="final learning rate as a fraction of the peak")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return 1 - (1 - self.end_factor) * self.progress_at(step, total, steps_per_epoch)


class Step(ScheduleConfig):
    """The learning rate is multiplied by ``gamma`` every so often, counted from the run's start."""

    decay_advice: ClassVar[str] = "raise schedule.step_size"
    kind: Literal["step"] = "step"
    step_size: Length = Field(Duration.parse("20 epochs"), description="how often")
    gamma: Factor = Field(0.1, description="what it is multiplied by")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return self.gamma ** (step // max(1, self.step_size.in_steps(steps_per_epoch)))

    def first_acts(self, length: RunLength) -> dict[str, int]:
        return {"step_size": self.step_size.in_steps(length.steps_per_epoch)}


class CosineRestarts(ScheduleConfig):
    """Cosines from the peak to ``end_factor``, one after another (Loshchilov & Hutter 2017)."""

    decay_advice: ClassVar[str] = "raise schedule.cycle_decay"
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
        progress, peak = self.progress_at(step, total, steps_per_epoch), self.pct_start
        if progress < peak:
            return _half_cosine(self.start_factor, 1, progress / peak)
        return _half_cosine(1, self.end_factor, (progress - peak) / (1 - peak))


class Plateau(ScheduleConfig):
    """The learning rate is multiplied by ``factor`` when the validation loss has stopped falling.

    A loss improves if it is lower than the least one so far by more than ``threshold`` of that, a
    ``monitor`` of which more is better if it is as much higher than the highest. After more than
    ``patience`` epochs in a row without improvement the next one has the lower learning rate.
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
        best, bad_epochs = state.memory.get("best"), state.memory.get("bad_epochs", 0)
        sign = 1 if self.monitor.higher_is_better == ((best or 0) >= 0) else -1  # away from 0?
        target = None if best is None else (1 + sign * self.threshold) * best
        if best is None or self.monitor.is_better(value, target):
            return state._replace(memory={"best": value, "bad_epochs": 0})
        if bad_epochs < self.patience:
            return state._replace(memory={"best": best, "bad_epochs": bad_epochs + 1})
        lower = max(self.min_factor, state.factor * self.factor)
        return state._replace(factor=lower, memory={"best": best, "bad_epochs": 0})

    def first_acts(self, length: RunLength) -> dict[str, int]:
        # the first epoch sets the best value, then patience, and one that lowers
        return {"patience": (self.patience + 2) * length.steps_per_epoch}

    def scaled(self, scale: float) -> dict[str, Any]:
        return {"patience": round(self.patience * scale)}


Schedule = SerializeAsAny[ScheduleConfig]
