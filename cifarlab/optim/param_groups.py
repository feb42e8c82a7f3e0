"""The recipe's optimizer: PyTorch's own, fused where it has that form, or Muon.

Parameters come by role; each role may have a rate, a weight decay and an end of its own. What
``group_settings.apply_schedule`` needs of a parameter group stands in it beside PyTorch's keys:
``peak_lr`` (the peak rate), ``until`` (a Duration, or None) and ``peak_momentum`` (None where there
is none); and what ``penalties.apply_penalties`` needs: ``l1`` and ``decoupled_decay``.
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
_AUX_ROLES = ROLES[1:]  # what Muon does not take; these may have settings of their own


def build_optimizer(
    config: Optimizer, roles: Roles, precision: str = "float32"
) -> torch.optim.Optimizer:
    """An optimizer over all trainable parameters; ``apply_schedule`` sets its rates before each step.

    ``roles`` has the parameters of each of ``ROLES``; ``precision`` is the arithmetic of Muon's
    iteration. ``defaults["lr"]`` is the recipe's peak rate. Parameters are numbered role by role.
    Raises RecipeError for the rate, end or penalty of a role that has no parameters.
    """
    if isinstance(config, kinds.Muon):
        return _build_muon(config, roles, precision)
    momentum = getattr(config, "momentum", None)
    groups = _param_groups(config, roles, ROLES, config.lr, config.weight_decay, momentum)
    match config:
        case kinds.SGD():
            nesterov = config.nesterov
            return optim.SGD(
                groups, config.lr, momentum=config.momentum, nesterov=nesterov, fused=True
            )
        case kinds.Adam():
            return optim.Adam(groups, config.lr, config.betas, config.eps, fused=True)
        case kinds.AdamW():
            return optim.AdamW(groups, config.lr, config.betas, config.eps, fused=True)
        case kinds.Adagrad():
            initial_accumulator_value = config.initial_accumulator_value
            return optim.Adagrad(
                groups,
                config.lr,
                initial_accumulator_value=initial_accumulator_value,
                eps=config.eps,
                fused=True,
            )
        case kinds.Adadelta():
            return optim.Adadelta(groups, config.lr, config.rho, config.eps, foreach=True)
        case kinds.RMSprop():
            alpha, momentum = config.alpha, config.momentum
            return optim.RMSprop(
                groups, config.lr, alpha, config.eps, momentum=momentum, foreach=True
            )


def _build_muon(config: kinds.Muon, roles: Roles, precision: str) -> Muon:
    aux_sgd = config.aux_sgd
    groups = [
        *_param_groups(
            config, roles, ("matrices",), config.lr, config.weight_decay, config.momentum
        ),
        *(
            {**group, "matrices": False, "momentum": aux_sgd.momentum, "nesterov": aux_sgd.nesterov}
            for group in _param_groups(
                config, roles, _AUX_ROLES, aux_sgd.lr, aux_sgd.weight_decay, aux_sgd.momentum
            )
        ),
    ]
    return Muon(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        ns_steps=config.ns_steps,
        normalize_weights=config.normalize_weights,
        dtype=torch.bfloat16 if precision == "bfloat16" else None,
    )


def _param_groups(
    config: Optimizer,
    roles: Roles,
    names: Sequence[Role],
    lr: float,
    weight_decay: float,
    momentum: float | None,
) -> list[dict[str, Any]]:
    """Parameter groups of the named roles: one for each if any has its own settings, else one."""
    group_configs = {name: getattr(config, name, Group()) for name in names}
    trainable = {name: [p for p in roles[name] if p.requires_grad] for name in names}
    for name in names:
        group = group_configs[name]
        # without penalties is how groups are left alone, whether a network has them or not
        has_settings = group.lr or group.until or group.weight_decay or group.l1
        if has_settings and not trainable[name]:
            raise RecipeError(
                f"optimizer.{name} is set, but this network trains no such parameters",
                f"leave optimizer.{name} out, or take a network that has them",
            )
    parts = [(group_configs[name], trainable[name]) for name in names]
    if all(group == Group() for group in group_configs.values()):
        parts = [(Group(), list(chain(*trainable.values())))]
    decoupled_weight_decay = getattr(config, "decoupled_weight_decay", False)
    groups = []
    for group, parameters in parts:
        peak_lr = lr if group.lr is None else group.lr
        decay = weight_decay if group.weight_decay is None else group.weight_decay
        groups.append(
            {
                "params": parameters,
                "lr": peak_lr,
                "peak_lr": peak_lr,
                "weight_decay": 0.0 if decoupled_weight_decay else decay,
                "decoupled_decay": decay if decoupled_weight_decay else 0.0,
                "l1": config.l1 if group.l1 is None else group.l1,
                "until": group.until,
                "peak_momentum": momentum,
            }
        )
    return [group for group in groups if group["params"]]
