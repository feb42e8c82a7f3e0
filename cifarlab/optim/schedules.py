"""The recipe's schedule of the learning rate: one class for each kind."""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import Fraction
from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family
from cifarlab.metrics.kinds import LogLoss, Metric

Floor = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, lt=1)]


class ScheduleConfig(Family):
    """What all schedules share."""

    kind: str
    warmup: Duration = Field(
        Duration.parse("0 epochs"), description="linear rise from 0 to the peak before the rest"
    )
    final_momentum: Fraction | None = Field(
        None,
        description="momentum moves linearly from the optimizer's to this one over the run; "
        "null: it stays",
    )


class Constant(ScheduleConfig):
    """The peak rate throughout."""

    kind: Literal["constant"] = "constant"


class MultiStep(ScheduleConfig):
    """The rate is multiplied by ``gamma`` at each milestone, counted from the run's start."""

    kind: Literal["multistep"] = "multistep"
    milestones: tuple[Duration, ...] = Field(
        (Duration.parse("0.5 of the run"), Duration.parse("0.75 of the run")),
        min_length=1,
        description="when, counted from the run's start",
    )
    gamma: Factor = Field(0.1, description="what it is multiplied by")


class Exponential(ScheduleConfig):
    """The rate is multiplied by ``gamma`` after each epoch (fudan, section 2.1)."""

    kind: Literal["exponential"] = "exponential"
    gamma: Annotated[float, Field(gt=0, le=1)] = Field(0.9, description="factor per epoch")


class Cosine(ScheduleConfig):
    """Half a cosine from the peak to ``end_factor`` (Loshchilov & Hutter 2017, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    end_factor: Floor = Field(0.0, description="rate at the end as a share of the peak")


class Linear(ScheduleConfig):
    """A straight line from the peak to ``end_factor``."""

    kind: Literal["linear"] = "linear"
    end_factor: Floor = Field(0.0, description="rate at the end as a share of the peak")


class Step(ScheduleConfig):
    """The rate is multiplied by ``gamma`` every so often, counted from the run's start."""

    kind: Literal["step"] = "step"
    step_size: Length = Field(Duration.parse("20 epochs"), description="how often")
    gamma: Factor = Field(0.1, description="what it is multiplied by")


class CosineRestarts(ScheduleConfig):
    """Cosines from the peak to ``end_factor``, one after another (SGDR: Loshchilov & Hutter 2017)."""

    kind: Literal["cosine_restarts"] = "cosine_restarts"
    period: Length = Field(Duration.parse("10 epochs"), description="length of the first cosine")
    cycle_mul: Annotated[float, Field(ge=1)] = Field(
        1.0, description="each is that much longer than the one before"
    )
    cycle_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="each starts at that share of the start of the one before"
    )
    end_factor: Floor = Field(
        0.0, description="rate at the end of the first as a share of the peak"
    )


class OneCycle(ScheduleConfig):
    """Up from ``start_factor`` to the peak and down to ``end_factor``, both as half a cosine (Smith 2018)."""

    kind: Literal["onecycle"] = "onecycle"
    pct_start: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="share of the time after the warm-up at which the peak is reached"
    )
    start_factor: Floor = Field(0.04, description="rate at the start as a share of the peak")
    end_factor: Floor = Field(4e-6, description="rate at the end as a share of the peak")


class Plateau(ScheduleConfig):
    """The rate is multiplied by ``factor`` when the validation loss has stopped falling.

    After ``patience`` epochs in a row without a loss below (1 - ``threshold``) times the least one
    so far, the next epoch has the lower rate; of a ``monitor`` of which more is better, above
    (1 + ``threshold``) times the highest. What it has seen is in the checkpoint.
    """

    kind: Literal["plateau"] = "plateau"
    monitor: Metric = Field(LogLoss(), description="what is watched, on the validation images")
    factor: Factor = Field(0.1, description="what the rate is multiplied by")
    patience: int = Field(
        10, ge=0, description="epochs without improvement that are borne; the next one lowers"
    )
    threshold: Annotated[float, Field(ge=0, lt=1)] = Field(
        1e-4, description="fraction by which it must change to count as improved"
    )
    min_factor: Floor = Field(0.0, description="the rate never falls below this share of the peak")


Schedule = SerializeAsAny[ScheduleConfig]
