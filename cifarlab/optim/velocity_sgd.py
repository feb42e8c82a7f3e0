"""SGD whose velocity holds gradients times the learning rate of their step."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class VelocitySGD(Optimizer):
    """v <- momentum v - lr (g + weight_decay w), w <- w + v, as in Keras.

    Sutskever et al. 2013, equations 1 to 4; with ``nesterov`` w <- w + momentum v - lr g. PyTorch's
    SGD multiplies the whole velocity by the learning rate of the day instead, which is the same as
    long as that stays. A velocity starts at 0.
    """

    def __init__(
        self, param_groups: list[dict[str, Any]], lr: float, momentum: float, nesterov: bool
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": 0.0}
        super().__init__(param_groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the parameters that have a gradient; there is no ``closure``."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients: Any = [p.grad for p in parameters]
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
            velocities = [self._velocity(p) for p in parameters]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
            if group["nesterov"]:
                torch._foreach_add_(parameters, velocities, alpha=group["momentum"])
                torch._foreach_add_(parameters, gradients, alpha=-group["lr"])
            else:
                torch._foreach_add_(parameters, velocities)

    def _velocity(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity: torch.Tensor = state["velocity"]
        return velocity
