"""What weights cost beside the loss, where PyTorch's optimizers do not know it."""

import torch
from torch.optim import Optimizer


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
