# ruff: noqa: D102  # the methods of kinds are described in the base
"""The recipe's optimizer: one class for each kind, over groups of parameters by their role.

PyTorch's optimizers, fused where they have that form, or Muon. Each role may have a learning rate,
a weight decay and an end of its own. Beside PyTorch's keys a parameter group has those that
``group_settings.apply_schedule`` reads: ``peak_lr`` (the peak learning rate), ``until`` (a
Duration, or None) and ``peak_momentum`` (None where there is none); those that ``apply_penalties``
reads: ``l1`` and ``decoupled_decay``; and ``precision``, the arithmetic of the run.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import Field, SerializeAsAny, model_validator

from cifarlab.config.base import ROLES, Config, Fraction, PositiveFloat, Role
from cifarlab.config.duration import Duration
from cifarlab.config.family import Family
from cifarlab.config.findings import Finding, RunLength
from cifarlab.config.plugins import plugin_errors
from cifarlab.system.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn, optim

Roles = Mapping[Role, Sequence["nn.Parameter"]]
ParamGroups = list[dict[str, Any]]

MAX_LR_RATIO = 10  # to the usual range, for lint


class Group(Config):
    """Settings of one group of parameters."""

    lr: PositiveFloat | None = Field(None, description="peak learning rate; null: as the rest")
    weight_decay: float | None = Field(None, ge=0, description="null: as the rest")
    l1: float | None = Field(None, ge=0, description="null: as the rest")
    until: Duration | None = Field(
        None,
        description="trained until then, at a learning rate that falls linearly to 0 whatever the "
        "schedule says; null: throughout, by the schedule",
    )


class OptimizerConfig(Family):
    """What all optimizers share: a learning rate, penalties, and groups with settings of their own.

    The groups say which parameters have a penalty: ``norms: {weight_decay: 0}``. A kind has the
    method ``build``.
    """

    usual_lrs: ClassVar[tuple[float, float] | None] = None  # least and most, of small images
    divides_decay: ClassVar[bool] = False  # whether a denominator divides the L2 in the gradient
    decoupling_advice: ClassVar[str] = "take optimizer.kind=adamw"  # for lint, if it divides

    lr: PositiveFloat = Field(0.1, description="peak learning rate")
    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")
    l1: float = Field(0.0, ge=0, description="L1: this times the weights' signs, in the gradient")
    shortcuts: Group = Group()
    norms: Group = Group()
    biases: Group = Group()
    head: Group = Group()
    whitening: Group = Group()

    @abstractmethod
    def build(self, param_groups: ParamGroups) -> "optim.Optimizer":
        """Return the optimizer of these groups, each with its ``lr`` and ``weight_decay``."""

    @property
    def peak_momentum(self) -> float | None:
        """The groups' ``momentum`` that a schedule may change; None where there is none."""
        return None

    def split_decay(self, decay: float) -> tuple[float, float]:
        """Return the weight decay that the optimizer applies, and that of ``apply_penalties``."""
        return decay, 0.0

    def role_settings(self, role: Role) -> dict[str, Any]:
        """Return the settings of a role's group, before those that the recipe gives it."""
        momentum = self.peak_momentum
        return {"lr": self.lr, "weight_decay": self.weight_decay, "peak_momentum": momentum}

    def param_groups(self, roles: Roles, precision: str) -> ParamGroups:
        """Return the groups: one for each role if a role has settings, else for equal settings.

        Args:
            roles: the parameters of each role
            precision: the arithmetic of the run

        Raises:
            RecipeError: for the learning rate, end or penalty of a role without parameters
        """
        role_groups = {role: getattr(self, role, Group()) for role in ROLES}
        can_merge = all(group == Group() for group in role_groups.values())
        groups: ParamGroups = []
        for role, group in role_groups.items():
            parameters = [p for p in roles[role] if p.requires_grad]
            # a penalty of 0 is allowed: a recipe may say it for any network
            if (group.lr or group.until or group.weight_decay or group.l1) and not parameters:
                raise RecipeError(
                    f"optimizer.{role} is set, but this network trains no such parameters",
                    f"leave optimizer.{role} out, or take a network that has them",
                )
            settings = {"l1": self.l1, "until": None, **self.role_settings(role)}
            settings |= {name: value for name, value in group if value is not None}
            l2, decoupled_decay = self.split_decay(settings["weight_decay"])
            settings |= {"weight_decay": l2, "decoupled_decay": decoupled_decay}
            settings |= {"peak_lr": settings["lr"], "precision": precision}
            if groups and can_merge and {**groups[-1], "params": []} == {"params": [], **settings}:
                groups[-1]["params"] += parameters
            elif parameters:
                groups.append({"params": parameters, **settings})
        return groups

    def lint(self, length: RunLength) -> Iterator[Finding]:
        """Yield findings on divided weight decay and an unusual learning rate."""
        if self.divides_decay and self.split_decay(self.weight_decay)[0]:
            yield Finding(
                f"optimizer.weight_decay={self.weight_decay:g} is L2 in the gradient of "
                f"{self.kind}",
                "its denominator divides the penalty too, so that weights with large gradients are "
                "decayed least (Loshchilov & Hutter 2019, section 2)",
                f"{self.decoupling_advice}, with a larger weight decay, or leave it at 0",
            )
        least, most = self.usual_lrs or (self.lr, self.lr)
        if not least / MAX_LR_RATIO <= self.lr <= most * MAX_LR_RATIO:
            side = "below" if self.lr < least else "above"
            yield Finding(
                f"optimizer.lr={self.lr:g} is more than {MAX_LR_RATIO} times {side} what "
                f"{self.kind} usually has, {least:g} to {most:g}",
                "learning rates of optimizers lie orders of magnitude apart (PyTorch's defaults: "
                "0.001 for Adam, 1 for Adadelta): one carried over from another stalls or diverges",
                f"start between {least:g} and {most:g}",
            )


def build_optimizer(
    config: OptimizerConfig, roles: Roles, precision: str = "float32"
) -> "optim.Optimizer":
    """Return an optimizer of all trainable parameters; ``apply_schedule`` sets learning rates.

    Args:
        config: the recipe's part
        roles: the parameters of each of ``ROLES``; they are numbered in this order
        precision: the arithmetic of Muon's iteration

    Raises:
        RecipeError: for settings of a role without parameters, a penalty that the optimizer does
            not have, or groups that a plug-in's optimizer changes
    """
    optimizer = plugin_errors(config)(config.build)(config.param_groups(roles, precision))
    for group in optimizer.param_groups:
        if "peak_lr" not in group:
            raise RecipeError(
                f"optimizer.kind={config.kind} leaves out the settings of its groups of parameters",
                "let its build give param_groups whole to the optimizer",
            )
        if group["weight_decay"] and "weight_decay" not in optimizer.defaults:
            raise RecipeError(
                f"optimizer.kind={config.kind} has no weight decay: "
                f"{group['weight_decay']:g} would do nothing",
                "leave it out, or give the optimizer a default of weight_decay that it uses",
            )
    return optimizer


class TorchConfig(OptimizerConfig):
    """What PyTorch's optimizers share: a class and its settings have PyTorch's names."""

    def build(self, param_groups: ParamGroups) -> "optim.Optimizer":
        from torch import optim

        name = next(c.__name__ for c in type(self).__mro__ if c.__name__ in optim.__all__)
        optimizer: Callable[..., optim.Optimizer] = getattr(optim, name)
        parameters = signature(optimizer).parameters
        settings = {name: value for name, value in self if name in parameters}
        implementation = "fused" if "fused" in parameters else "foreach"
        return optimizer(param_groups, **settings, **{implementation: True})


class DecayConfig(TorchConfig):
    """What the optimizers share whose weight decay is L2 unless it is decoupled."""

    decoupling_advice: ClassVar[str] = "set optimizer.decoupled_weight_decay=true"
    decoupled_weight_decay: bool = Field(
        False,
        description="whether weights shrink by lr * weight_decay instead, beside the gradient "
        "(Loshchilov & Hutter 2019)",
    )

    def split_decay(self, decay: float) -> tuple[float, float]:
        return (0.0, decay) if self.decoupled_weight_decay else (decay, 0.0)


HasMomentum = TypeVar("HasMomentum", "SGD", "AuxSGD", "Muon")


def nesterov_needs_momentum(config: HasMomentum) -> HasMomentum:
    """Return the config, if it has a momentum for Nesterov's look-ahead.

    Raises:
        ValueError: for ``nesterov`` without momentum
    """
    if config.nesterov and not config.momentum:
        raise ValueError("nesterov needs momentum above 0")
    return config


class SGD(DecayConfig):
    """Stochastic gradient descent with momentum."""

    usual_lrs: ClassVar[tuple[float, float]] = (1e-3, 0.5)
    kind: Literal["sgd"] = "sgd"
    momentum: Fraction = Field(0.9, description="momentum")
    nesterov: bool = Field(False, description="Nesterov's look-ahead")
    momentum_includes_lr: bool = Field(
        False,
        description="whether the velocity holds gradients times the learning rate of their step, "
        "as in Keras (Sutskever et al. 2013): a jump of the learning rate then acts with a delay",
    )

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)

    @property
    def peak_momentum(self) -> float:
        return self.momentum

    def build(self, param_groups: ParamGroups) -> "optim.Optimizer":
        if not self.momentum_includes_lr:
            return super().build(param_groups)
        from cifarlab.optim.velocity_sgd import VelocitySGD

        return VelocitySGD(param_groups, self.lr, self.momentum, self.nesterov)


class Adam(TorchConfig):
    """Adam (Kingma & Ba 2015); weight decay as L2, which the denominator distorts."""

    usual_lrs: ClassVar[tuple[float, float]] = (1e-4, 1e-2)
    divides_decay: ClassVar[bool] = True
    kind: Literal["adam"] = "adam"
    lr: PositiveFloat = Field(1e-3, description="peak learning rate")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="decays of the two moments")
    eps: PositiveFloat = Field(1e-8, description="added to the denominator")


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    divides_decay: ClassVar[bool] = False
    kind: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")


class Adagrad(DecayConfig):
    """Adagrad (Duchi et al. 2011): the gradient over the root of all squares so far."""

    usual_lrs: ClassVar[tuple[float, float]] = (1e-3, 0.1)
    divides_decay: ClassVar[bool] = True
    kind: Literal["adagrad"] = "adagrad"
    lr: PositiveFloat = Field(0.01, description="peak learning rate")
    initial_accumulator_value: float = Field(
        0.0, ge=0, description="what the sums of squares start from"
    )
    eps: PositiveFloat = Field(1e-10, description="added to the denominator")


class Adadelta(DecayConfig):
    """Adadelta (Zeiler 2012): steps as large as recent ones, so a learning rate of 1 is usual."""

    usual_lrs: ClassVar[tuple[float, float]] = (0.1, 1.0)
    divides_decay: ClassVar[bool] = True
    kind: Literal["adadelta"] = "adadelta"
    lr: PositiveFloat = Field(1.0, description="peak learning rate")
    rho: Fraction = Field(0.9, description="decay of the two averages of squares")
    eps: PositiveFloat = Field(1e-6, description="added to both averages")


class RMSprop(DecayConfig):
    """The gradient over the root of its recent squares (Tieleman & Hinton 2012, lecture 6.5)."""

    usual_lrs: ClassVar[tuple[float, float]] = (1e-4, 1e-2)
    divides_decay: ClassVar[bool] = True
    kind: Literal["rmsprop"] = "rmsprop"
    lr: PositiveFloat = Field(1e-3, description="peak learning rate")
    alpha: Fraction = Field(0.99, description="decay of the average of squares")
    momentum: Fraction = Field(0.0, description="momentum of the scaled gradient")
    eps: PositiveFloat = Field(1e-8, description="added to the denominator")

    @property
    def peak_momentum(self) -> float | None:
        return self.momentum or None  # without one its state has no buffer


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

    usual_lrs: ClassVar[tuple[float, float]] = (0.01, 0.5)
    kind: Literal["muon"] = "muon"
    lr: PositiveFloat = Field(0.24, description="peak learning rate of the matrices")
    momentum: Fraction = Field(0.6, description="momentum of the matrices")
    nesterov: bool = Field(True, description="Nesterov's look-ahead, for the matrices")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of the matrices")
    ns_steps: int = Field(3, ge=1, le=12, description="Newton-Schulz iterations")
    normalize_weights: bool = Field(
        True, description="whether each matrix is scaled to norm sqrt(rows) before it is updated"
    )
    aux_sgd: AuxSGD = AuxSGD()

    _nesterov_needs_momentum = model_validator(mode="after")(nesterov_needs_momentum)

    @property
    def peak_momentum(self) -> float:
        return self.momentum

    def role_settings(self, role: Role) -> dict[str, Any]:
        rest = self if role in ("matrices", "shortcuts") else self.aux_sgd
        names = ("lr", "weight_decay", "momentum", "nesterov")
        settings = {name: getattr(rest, name) for name in names}
        return settings | {"peak_momentum": rest.momentum, "matrices": rest is self}

    def build(self, param_groups: ParamGroups) -> "optim.Optimizer":
        import torch

        from cifarlab.optim.muon import MuonWithAuxSGD

        names = ("lr", "momentum", "nesterov", "weight_decay", "ns_steps", "normalize_weights")
        dtype = torch.bfloat16 if param_groups[0]["precision"] == "bfloat16" else None
        defaults = {name: getattr(self, name) for name in names}
        return MuonWithAuxSGD(param_groups, {**defaults, "dtype": dtype, "matrices": True})


Optimizer = SerializeAsAny[OptimizerConfig]
