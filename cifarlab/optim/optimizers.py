"""The recipe's optimizer: one class for each kind."""

from typing import Literal, TypeVar

from pydantic import Field, SerializeAsAny, model_validator

from cifarlab.config.base import Config, Fraction, PositiveFloat
from cifarlab.config.duration import Duration
from cifarlab.config.family import Family


class Group(Config):
    """What one group of parameters has of its own."""

    lr: PositiveFloat | None = Field(None, description="peak learning rate; null: as the rest")
    weight_decay: float | None = Field(None, ge=0, description="null: as the rest")
    l1: float | None = Field(None, ge=0, description="null: as the rest")
    until: Duration | None = Field(
        None,
        description="trained until then, at a rate that falls linearly to 0 whatever the schedule "
        "says; null: throughout, by the schedule",
    )


class OptimizerConfig(Family):
    """What all optimizers share: a penalty, and groups of parameters with settings of their own.

    Which parameters a penalty touches is said by the groups: ``norms: {weight_decay: 0}``.
    """

    kind: str
    l1: float = Field(0.0, ge=0, description="L1: this times the weights' signs, in the gradient")
    norms: Group = Group()
    biases: Group = Group()
    head: Group = Group()
    whitening: Group = Group()


class DecayConfig(OptimizerConfig):
    """What the optimizers share whose weight decay is L2 unless it is decoupled."""

    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")
    decoupled_weight_decay: bool = Field(
        False,
        description="whether weights shrink by lr * weight_decay instead, beside the gradient "
        "(Loshchilov & Hutter 2019)",
    )


HasMomentum = TypeVar("HasMomentum", "SGD", "AuxSGD", "Muon")


def nesterov_needs_momentum(config: HasMomentum) -> HasMomentum:
    """Refuse a look-ahead along no momentum. Raises ValueError."""
    if config.nesterov and not config.momentum:
        raise ValueError("nesterov needs momentum above 0")
    return config


class SGD(DecayConfig):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: PositiveFloat = Field(0.1, description="peak learning rate")
    momentum: Fraction = Field(0.9, description="momentum")
    nesterov: bool = Field(False, description="Nesterov's look-ahead")

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)


class Adam(OptimizerConfig):
    """Adam (Kingma & Ba 2015); weight decay as L2, which the denominator distorts."""

    kind: Literal["adam"] = "adam"
    lr: PositiveFloat = Field(1e-3, description="peak learning rate")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="decays of the two moments")
    eps: PositiveFloat = Field(1e-8, description="added to the denominator")
    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")


class AdamW(OptimizerConfig):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    lr: PositiveFloat = Field(1e-3, description="peak learning rate")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="decays of the two moments")
    eps: PositiveFloat = Field(1e-8, description="added to the denominator")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")


class Adagrad(DecayConfig):
    """Adagrad (Duchi et al. 2011): the gradient over the root of all squares so far."""

    kind: Literal["adagrad"] = "adagrad"
    lr: PositiveFloat = Field(0.01, description="peak learning rate")
    initial_accumulator_value: float = Field(
        0.0, ge=0, description="what the sums of squares start from"
    )
    eps: PositiveFloat = Field(1e-10, description="added to the denominator")


class Adadelta(DecayConfig):
    """Adadelta (Zeiler 2012): steps as large as recent ones, so that a rate of 1 is usual."""

    kind: Literal["adadelta"] = "adadelta"
    lr: PositiveFloat = Field(1.0, description="peak learning rate")
    rho: Fraction = Field(0.9, description="decay of the two averages of squares")
    eps: PositiveFloat = Field(1e-6, description="added to both averages")


class RMSprop(DecayConfig):
    """The gradient over the root of its recent squares (Tieleman & Hinton 2012, lecture 6.5)."""

    kind: Literal["rmsprop"] = "rmsprop"
    lr: PositiveFloat = Field(1e-3, description="peak learning rate")
    alpha: Fraction = Field(0.99, description="decay of the average of squares")
    momentum: Fraction = Field(0.0, description="momentum of the scaled gradient")
    eps: PositiveFloat = Field(1e-8, description="added to the denominator")


class AuxSGD(Config):
    """SGD for what Muon does not take: biases, normalisation, whitening and head."""

    lr: PositiveFloat = Field(0.1, description="peak learning rate")
    momentum: Fraction = Field(0.9, description="momentum")
    nesterov: bool = Field(True, description="Nesterov's look-ahead")
    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)


class Muon(OptimizerConfig):
    """Momentum whose update is orthogonalised, for convolutions and hidden linear layers.

    Jordan et al. 2024, as in airbench94_muon: a filter tensor counts as a matrix with a row for
    each filter. All other parameters are trained by SGD (``aux_sgd``, and their own groups).
    """

    kind: Literal["muon"] = "muon"
    lr: PositiveFloat = Field(0.24, description="peak learning rate of the matrices")
    momentum: Fraction = Field(0.6, description="momentum of the matrices")
    nesterov: bool = Field(True, description="Nesterov's look-ahead, for the matrices")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of the matrices")
    ns_steps: int = Field(3, ge=1, le=12, description="Newton-Schulz iterations")
    normalize_weights: bool = Field(
        True,
        description="whether each matrix is scaled to norm sqrt(rows) before it is updated",
    )
    aux_sgd: AuxSGD = AuxSGD()

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)


Optimizer = SerializeAsAny[OptimizerConfig]
