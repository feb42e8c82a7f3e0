"""The recipe's optimizer: PyTorch's own, fused where it has that form, or Muon.

Parameters come by role; each role may have a rate, a weight decay and an end of its own. What
``rates.set_rates`` needs of a parameter group stands in it beside PyTorch's keys: ``peak`` (the
peak rate), ``until`` (a Duration, or None) and ``peak_momentum`` (None where there is none); and
what ``penalties.penalise`` needs: ``l1`` and ``decay`` (decoupled).
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal, get_args

import torch
from torch import nn, optim

from cifarlab.optim import optimizers as kinds
from cifarlab.optim.muon import Muon
from cifarlab.optim.optimizers import Group, Optimizer
from cifarlab.system.errors import RecipeError

Role = Literal["matrices", "norms", "biases", "head", "whitening"]
Roles = Mapping[Role, Sequence[nn.Parameter]]

ROLES: tuple[Role, ...] = get_args(Role)
_OTHERS = ROLES[1:]  # what Muon does not take; these may have settings of their own


def build_optimizer(
    config: Optimizer, roles: Roles, precision: str = "float32"
) -> torch.optim.Optimizer:
    """An optimizer over all trainable parameters; ``set_rates`` sets its rates before each step.

    ``roles`` has the parameters of each of ``ROLES``; ``precision`` is the arithmetic of Muon's
    iteration. ``defaults["lr"]`` is the recipe's peak rate. Parameters are numbered role by role.
    Raises RecipeError for the rate, end or penalty of a role that has no parameters.
    """
    if isinstance(config, kinds.Muon):
        return _muon(config, roles, precision)
    momentum = getattr(config, "momentum", None)
    groups = _groups(config, roles, ROLES, config.rate, config.weight_decay, momentum)
    match config:
        case kinds.SGD():
            nesterov = config.nesterov
            return optim.SGD(
                groups, config.rate, momentum=config.momentum, nesterov=nesterov, fused=True
            )
        case kinds.Adam():
            return optim.Adam(groups, config.rate, config.betas, config.eps, fused=True)
        case kinds.AdamW():
            return optim.AdamW(groups, config.rate, config.betas, config.eps, fused=True)
        case kinds.Adagrad():
            start = config.start
            return optim.Adagrad(
                groups, config.rate, initial_accumulator_value=start, eps=config.eps, fused=True
            )
        case kinds.Adadelta():
            return optim.Adadelta(groups, config.rate, config.rho, config.eps, foreach=True)
        case kinds.RMSprop():
            smoothing, momentum = config.smoothing, config.momentum
            return optim.RMSprop(
                groups, config.rate, smoothing, config.eps, momentum=momentum, foreach=True
            )


def _muon(config: kinds.Muon, roles: Roles, precision: str) -> Muon:
    others = config.others
    groups = [
        *_groups(config, roles, ("matrices",), config.rate, config.weight_decay, config.momentum),
        *(
            {**group, "matrices": False, "momentum": others.momentum, "nesterov": others.nesterov}
            for group in _groups(
                config, roles, _OTHERS, others.rate, others.weight_decay, others.momentum
            )
        ),
    ]
    return Muon(
        groups,
        lr=config.rate,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        iterations=config.iterations,
        normalise=config.normalise,
        dtype=torch.bfloat16 if precision == "bfloat16" else None,
    )


def _groups(
    config: Optimizer,
    roles: Roles,
    names: Sequence[Role],
    rate: float,
    weight_decay: float,
    momentum: float | None,
) -> list[dict[str, Any]]:
    """Parameter groups of the named roles: one for each if any has its own settings, else one."""
    own = {name: getattr(config, name, Group()) for name in names}
    trainable = {name: [p for p in roles[name] if p.requires_grad] for name in names}
    for name in names:
        group = own[name]
        # without penalties is how groups are left alone, whether a network has them or not
        set_apart = group.rate or group.until or group.weight_decay or group.l1
        if set_apart and not trainable[name]:
            raise RecipeError(
                f"optimizer.{name} is set, but this network trains no such parameters",
                f"leave optimizer.{name} out, or take a network that has them",
            )
    parts = [(own[name], trainable[name]) for name in names]
    if all(group == Group() for group in own.values()):
        parts = [(Group(), list(chain(*trainable.values())))]
    decoupled = getattr(config, "decoupled", False)
    groups = []
    for group, parameters in parts:
        peak = rate if group.rate is None else group.rate
        decay = weight_decay if group.weight_decay is None else group.weight_decay
        groups.append(
            {
                "params": parameters,
                "lr": peak,
                "peak": peak,
                "weight_decay": 0.0 if decoupled else decay,
                "decay": decay if decoupled else 0.0,
                "l1": config.l1 if group.l1 is None else group.l1,
                "until": group.until,
                "peak_momentum": momentum,
            }
        )
    return [group for group in groups if group["params"]]
