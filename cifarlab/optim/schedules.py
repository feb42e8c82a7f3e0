"""The recipe's schedule of the learning rate: one class for each kind."""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import Share
from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family

Floor = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, lt=1)]


class ScheduleConfig(Family):
    """What all schedules share."""

    kind: str
    warmup: Duration = Field(
        Duration.parse("0 epochs"), description="linear rise from 0 to the peak before the rest"
    )
    final_momentum: Share | None = Field(
        None,
        description="momentum moves linearly from the optimizer's to this one over the run; "
        "null: it stays",
    )


class Constant(ScheduleConfig):
    """The peak rate throughout."""

    kind: Literal["constant"] = "constant"


class MultiStep(ScheduleConfig):
    """The rate is multiplied by ``factor`` at each milestone, counted from the run's start."""

    kind: Literal["multistep"] = "multistep"
    milestones: tuple[Duration, ...] = Field(
        (Duration.parse("0.5 of the run"), Duration.parse("0.75 of the run")),
        min_length=1,
        description="when, counted from the run's start",
    )
    factor: Factor = Field(0.1, description="what it is multiplied by")


class Exponential(ScheduleConfig):
    """The rate is multiplied by ``factor`` after each epoch (fudan, section 2.1)."""

    kind: Literal["exponential"] = "exponential"
    factor: Annotated[float, Field(gt=0, le=1)] = Field(0.9, description="factor per epoch")


class Cosine(ScheduleConfig):
    """Half a cosine from the peak to ``final`` (Loshchilov & Hutter 2017, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    final: Floor = Field(0.0, description="rate at the end as a share of the peak")


class Linear(ScheduleConfig):
    """A straight line from the peak to ``final``."""

    kind: Literal["linear"] = "linear"
    final: Floor = Field(0.0, description="rate at the end as a share of the peak")


class Step(ScheduleConfig):
    """The rate is multiplied by ``factor`` every so often, counted from the run's start."""

    kind: Literal["step"] = "step"
    every: Length = Field(Duration.parse("20 epochs"), description="how often")
    factor: Factor = Field(0.1, description="what it is multiplied by")


class Restarts(ScheduleConfig):
    """Cosines from the peak to ``final``, one after another (SGDR: Loshchilov & Hutter 2017)."""

    kind: Literal["restarts"] = "restarts"
    period: Length = Field(Duration.parse("10 epochs"), description="length of the first cosine")
    growth: Annotated[float, Field(ge=1)] = Field(
        1.0, description="each is that much longer than the one before"
    )
    peak: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="each starts at that share of the start of the one before"
    )
    final: Floor = Field(0.0, description="rate at the end of the first as a share of the peak")


class OneCycle(ScheduleConfig):
    """Up from ``start`` to the peak and down to ``final``, both as half a cosine (Smith 2018)."""

    kind: Literal["onecycle"] = "onecycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="share of the time after the warm-up at which the peak is reached"
    )
    start: Floor = Field(0.04, description="rate at the start as a share of the peak")
    final: Floor = Field(4e-6, description="rate at the end as a share of the peak")


class Plateau(ScheduleConfig):
    """The rate is multiplied by ``factor`` when the validation loss has stopped falling.

    After ``patience`` epochs in a row without a loss below (1 - ``threshold``) times the least one
    so far, the next epoch has the lower rate. What it has seen is in the checkpoint.
    """

    kind: Literal["plateau"] = "plateau"
    factor: Factor = Field(0.1, description="what the rate is multiplied by")
    patience: int = Field(
        10, ge=0, description="epochs without improvement that are borne; the next one lowers"
    )
    threshold: Annotated[float, Field(ge=0, lt=1)] = Field(
        1e-4, description="share by which the loss must fall to count as improved"
    )
    least: Floor = Field(0.0, description="the rate never falls below this share of the peak")


Schedule = SerializeAsAny[ScheduleConfig]
