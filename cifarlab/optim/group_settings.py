"""What every group of parameters has at a step: learning rate and momentum, and penalties."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from cifarlab.optim.schedules import Schedule


def linear_decay(step: int, steps: int) -> float:
    """Return the factor on the peak learning rate at ``step`` of a group trained for ``steps``.

    1 at step 0, on a straight line to 0 at ``steps``, and 0 from there on.
    """
    return 1 - step / steps if step < steps else 0.0


def momentum_at(peak: float, final: float, step: int, planned: int) -> float:
    """Momentum at ``step``: on a line from ``peak`` at 0 to ``final`` at ``planned``, then held."""
    return peak + (final - peak) * min(step / planned, 1)


def apply_schedule(
    optimizer: Optimizer,
    schedule: Schedule,
    step: int,
    factor: float,
    planned: int,
    steps_per_epoch: int,
) -> None:
    """Make ``optimizer`` (of ``build_optimizer``) ready for that step, counted from 0.

    ``factor`` is the schedule's factor on the peak learning rates at that step, ``planned`` the
    run's planned length in steps. A group with an end (``until``, of that length) follows its own
    line, and no longer asks for gradients from there on.
    """
    for group in optimizer.param_groups:
        requires_grad = True
        if group["until"] is None:
            group["lr"] = group["peak_lr"] * factor
        else:
            end = group["until"].in_steps(steps_per_epoch, planned)
            group["lr"] = group["peak_lr"] * linear_decay(step, end)
            requires_grad = step < end
        set_requires_grad(group["params"], requires_grad)
        if schedule.final_momentum is not None and group["peak_momentum"] is not None:
            group["momentum"] = momentum_at(
                group["peak_momentum"], schedule.final_momentum, step, planned
            )


def set_requires_grad(parameters: Iterable[nn.Parameter], requires_grad: bool) -> None:
    """Let parameters ask for gradients, or neither ask for them nor keep one."""
    for p in parameters:
        p.requires_grad_(requires_grad)
        if not requires_grad:
            p.grad = None


@torch.no_grad()
def apply_penalties(optimizer: Optimizer) -> None:
    """Before a step of ``optimizer`` (of ``build_optimizer``): L1 and decoupled weight decay.

    By group: ``l1`` adds l1 * sign(w) to the gradient, ``decoupled_decay`` shrinks w by lr times
    it. Both touch only what has a gradient.
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
