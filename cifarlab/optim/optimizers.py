"""The recipe's optimizer: one class for each kind."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from cifarlab.config.base import Part, Rate, Share
from cifarlab.config.duration import Duration


class Group(Part):
    """What one group of parameters has of its own."""

    rate: Rate | None = Field(None, description="peak learning rate; null: as the rest")
    weight_decay: float | None = Field(None, ge=0, description="null: as the rest")
    l1: float | None = Field(None, ge=0, description="null: as the rest")
    until: Duration | None = Field(
        None,
        description="trained until then, at a rate that falls linearly to 0 whatever the schedule "
        "says; null: throughout, by the schedule",
    )


class OptimizerPart(Part):
    """What all optimizers share: a penalty, and groups of parameters with settings of their own.

    Which parameters a penalty touches is said by the groups: ``norms: {weight_decay: 0}``.
    """

    kind: str
    l1: float = Field(0.0, ge=0, description="L1: this times the weights' signs, in the gradient")
    norms: Group = Group()
    biases: Group = Group()
    head: Group = Group()
    whitening: Group = Group()


class DecayPart(OptimizerPart):
    """What the optimizers share whose weight decay is L2 unless it is decoupled."""

    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")
    decoupled: bool = Field(
        False,
        description="whether weights shrink by rate * weight_decay instead, beside the gradient "
        "(Loshchilov & Hutter 2019)",
    )


Heavy = TypeVar("Heavy", "SGD", "Others", "Muon")


def nesterov_needs_momentum(part: Heavy) -> Heavy:
    """Refuse a look-ahead along no momentum. Raises ValueError."""
    if part.nesterov and not part.momentum:
        raise ValueError("nesterov needs momentum above 0")
    return part


class SGD(DecayPart):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    rate: Rate = Field(0.1, description="peak learning rate")
    momentum: Share = Field(0.9, description="momentum")
    nesterov: bool = Field(False, description="Nesterov's look-ahead")

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)


class Adam(OptimizerPart):
    """Adam (Kingma & Ba 2015); weight decay as L2, which the denominator distorts."""

    kind: Literal["adam"] = "adam"
    rate: Rate = Field(1e-3, description="peak learning rate")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="decays of the two moments")
    eps: Rate = Field(1e-8, description="added to the denominator")
    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")


class AdamW(OptimizerPart):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    rate: Rate = Field(1e-3, description="peak learning rate")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="decays of the two moments")
    eps: Rate = Field(1e-8, description="added to the denominator")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")


class Adagrad(DecayPart):
    """Adagrad (Duchi et al. 2011): the gradient over the root of all squares so far."""

    kind: Literal["adagrad"] = "adagrad"
    rate: Rate = Field(0.01, description="peak learning rate")
    start: float = Field(0.0, ge=0, description="what the sums of squares start from")
    eps: Rate = Field(1e-10, description="added to the denominator")


class Adadelta(DecayPart):
    """Adadelta (Zeiler 2012): steps as large as recent ones, so that a rate of 1 is usual."""

    kind: Literal["adadelta"] = "adadelta"
    rate: Rate = Field(1.0, description="peak learning rate")
    rho: Share = Field(0.9, description="decay of the two averages of squares")
    eps: Rate = Field(1e-6, description="added to both averages")


class RMSprop(DecayPart):
    """The gradient over the root of its recent squares (Tieleman & Hinton 2012, lecture 6.5)."""

    kind: Literal["rmsprop"] = "rmsprop"
    rate: Rate = Field(1e-3, description="peak learning rate")
    smoothing: Share = Field(0.99, description="decay of the average of squares")
    momentum: Share = Field(0.0, description="momentum of the scaled gradient")
    eps: Rate = Field(1e-8, description="added to the denominator")


class Others(Part):
    """SGD for what Muon does not take: biases, normalisation, whitening and head."""

    rate: Rate = Field(0.1, description="peak learning rate")
    momentum: Share = Field(0.9, description="momentum")
    nesterov: bool = Field(True, description="Nesterov's look-ahead")
    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)


class Muon(OptimizerPart):
    """Momentum whose update is orthogonalised, for convolutions and hidden linear layers.

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


Optimizer = Annotated[
    SGD | Adam | AdamW | Adagrad | Adadelta | RMSprop | Muon, Field(discriminator="kind")
]
