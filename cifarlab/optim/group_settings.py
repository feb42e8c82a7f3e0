"""Learning rate, momentum and penalties of the groups of parameters at a step."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from cifarlab.optim.schedules import Schedule


def linear_decay(step: int, steps: int) -> float:
    """Return the factor on the peak learning rate at ``step`` of a group trained for ``steps``.

    It falls linearly from 1 at step 0 to 0 at ``steps``, and stays 0.
    """
    return 1 - step / steps if step < steps else 0.0


def momentum_at(peak: float, final: float, step: int, planned_steps: int) -> float:
    """Return the momentum at a step: linear from ``peak`` to ``final``, and then constant.

    Args:
        peak: momentum at step 0
        final: momentum from ``planned_steps`` on
        step: counted from 0
        planned_steps: the run's planned length
    """
    return peak + (final - peak) * min(step / planned_steps, 1)


def apply_schedule(
    optimizer: Optimizer,
    schedule: Schedule,
    step: int,
    factor: float,
    planned_steps: int,
    steps_per_epoch: int,
) -> None:
    """Set learning rates and momentum of all groups for a step.

    The learning rate of a group with an end (``until``) falls linearly to 0 instead, and from the
    end on its parameters need no gradients.

    Args:
        optimizer: from ``build_optimizer``
        schedule: the recipe's part
        step: counted from 0
        factor: the schedule's factor on the peak learning rates at that step
        planned_steps: the run's planned length
        steps_per_epoch: optimizer steps of an epoch
    """
    for group in optimizer.param_groups:
        requires_grad = True
        if group["until"] is None:
            group["lr"] = group["peak_lr"] * factor
        else:
            end = group["until"].in_steps(steps_per_epoch, planned_steps)
            group["lr"] = group["peak_lr"] * linear_decay(step, end)
            requires_grad = step < end
        set_requires_grad(group["params"], requires_grad)
        if schedule.final_momentum is not None and group["peak_momentum"] is not None:
            group["momentum"] = momentum_at(
                group["peak_momentum"], schedule.final_momentum, step, planned_steps
            )


def set_requires_grad(parameters: Iterable[nn.Parameter], requires_grad: bool) -> None:
    """Set ``requires_grad`` of parameters; False also drops the gradients that they have."""
    for p in parameters:
        p.requires_grad_(requires_grad)
        if not requires_grad:
            p.grad = None


@torch.no_grad()
def apply_penalties(optimizer: Optimizer) -> None:
    """Apply L1 and decoupled weight decay before a step of ``optimizer`` (``build_optimizer``).

    A group's ``l1`` adds l1 * sign(w) to the gradient, its ``decoupled_decay`` multiplies w by
    1 - lr * decoupled_decay; parameters without a gradient are left alone.
    """
    for group in optimizer.param_groups:
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            continue
        if group["l1"]:
            signs = torch._foreach_sign(parameters)
            torch._foreach_add_([p.grad for p in parameters], signs, alpha=group["l1"])
        if group["decoupled_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["decoupled_decay"])
