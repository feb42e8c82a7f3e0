"""The recipe's optimizer, schedule and averaging of weights: one class for each kind."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from cifarlab.recipe.base import Part, Rate, Share
from cifarlab.recipe.duration import Duration


class Group(Part):
    """What one group of parameters has of its own."""

    rate: Rate | None = Field(None, description="peak learning rate; null: as the rest")
    weight_decay: float | None = Field(None, ge=0, description="null: as the rest")
    until: Duration | None = Field(
        None,
        description="trained until then, at a rate that falls linearly to 0 whatever the schedule "
        "says; null: throughout, by the schedule",
    )


class OptimizerPart(Part):
    """What all optimizers share: groups of parameters with settings of their own."""

    kind: str
    norms: Group = Group()
    biases: Group = Group()
    head: Group = Group()
    whitening: Group = Group()


Heavy = TypeVar("Heavy", "SGD", "Others", "Muon")


def nesterov_needs_momentum(part: Heavy) -> Heavy:
    """Refuse a look-ahead along no momentum. Raises ValueError."""
    if part.nesterov and not part.momentum:
        raise ValueError("nesterov needs momentum above 0")
    return part


class SGD(OptimizerPart):
    """Stochastic gradient descent with momentum; weight decay as L2 in the gradient."""

    kind: Literal["sgd"] = "sgd"
    rate: Rate = Field(0.1, description="peak learning rate")
    momentum: Share = Field(0.9, description="momentum")
    nesterov: bool = Field(False, description="Nesterov's look-ahead")
    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)


class AdamW(OptimizerPart):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    rate: Rate = Field(1e-3, description="peak learning rate")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="decays of the two moments")
    eps: Rate = Field(1e-8, description="added to the denominator")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")


class Others(Part):
    """SGD for what Muon does not take: biases, normalisation, whitening and head."""

    rate: Rate = Field(0.1, description="peak learning rate")
    momentum: Share = Field(0.9, description="momentum")
    nesterov: bool = Field(True, description="Nesterov's look-ahead")
    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)


class Muon(OptimizerPart):
    """Momentum whose update is orthogonalised, for convolutions and hidden dense layers.

    Jordan et al. 2024, as in airbench94_muon: a filter tensor counts as a matrix with a row for
    each filter. All other parameters are trained by SGD (``others``, and their own groups).
    """

    kind: Literal["muon"] = "muon"
    rate: Rate = Field(0.24, description="peak learning rate of the matrices")
    momentum: Share = Field(0.6, description="momentum of the matrices")
    nesterov: bool = Field(True, description="Nesterov's look-ahead, for the matrices")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of the matrices")
    iterations: int = Field(3, ge=1, le=12, description="Newton-Schulz iterations")
    normalise: bool = Field(
        True,
        description="whether each matrix is scaled to norm sqrt(rows) before it is updated",
    )
    others: Others = Others()

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)


Optimizer = Annotated[SGD | AdamW | Muon, Field(discriminator="kind")]


class SchedulePart(Part):
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


class Constant(SchedulePart):
    """The peak rate throughout."""

    kind: Literal["constant"] = "constant"


class MultiStep(SchedulePart):
    """The rate is multiplied by ``factor`` at each milestone, counted from the run's start."""

    kind: Literal["multistep"] = "multistep"
    milestones: tuple[Duration, ...] = Field(
        (Duration.parse("0.5 of the run"), Duration.parse("0.75 of the run")),
        min_length=1,
        description="when, counted from the run's start",
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="what it is multiplied by")


class Exponential(SchedulePart):
    """The rate is multiplied by ``factor`` after each epoch (fudan, section 2.1)."""

    kind: Literal["exponential"] = "exponential"
    factor: Annotated[float, Field(gt=0, le=1)] = Field(0.9, description="factor per epoch")


class Cosine(SchedulePart):
    """Half a cosine from the peak to ``final`` (Loshchilov & Hutter 2017, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    final: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="rate at the end as a share of the peak"
    )


class Linear(SchedulePart):
    """A straight line from the peak to ``final``."""

    kind: Literal["linear"] = "linear"
    final: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="rate at the end as a share of the peak"
    )


Schedule = Annotated[
    Constant | MultiStep | Exponential | Cosine | Linear, Field(discriminator="kind")
]


class NoAveraging(Part):
    """The weights as the optimizer leaves them."""

    kind: Literal["none"] = "none"


class EMA(Part):
    """Evaluated is an exponential moving average of the weights; training does not see it.

    Every ``every`` steps slow = decay * slow + (1 - decay) * fast. Up to the first of these updates
    slow is a copy of the weights, so that the random initial ones are no part of the average.
    Running statistics of batch normalisation are averaged like weights.
    """

    kind: Literal["ema"] = "ema"
    decay: Share = Field(0.99, description="share of the average that is kept at each update")
    every: int = Field(1, ge=1, description="steps from one update to the next")


class Lookahead(Part):
    """Slow weights that the fast ones are set back to (Zhang et al. 2019; airbench, section 3.4).

    Every ``every`` steps slow = d * slow + (1 - d) * fast and fast = slow, with
    d = decay**every * progress**3, progress being the share of the run that is done; slow starts
    as the initial weights. At the run's end fast = slow: the slow weights are the result, and
    steps after the last update count for nothing. An extension is a run's end once more, with
    progress counted from the run's start. Running statistics of batch normalisation are averaged
    like weights.
    """

    kind: Literal["lookahead"] = "lookahead"
    decay: Share = Field(0.95, description="share of the slow weights kept per step at the end")
    every: int = Field(5, ge=1, description="steps from one update to the next")


Averaging = Annotated[NoAveraging | EMA | Lookahead, Field(discriminator="kind")]
