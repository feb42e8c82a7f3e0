"""A plug-in whose parts keep what they say, of which a checkpoint can hold some."""

from typing import Any, Literal

import torch

from cifarlab import AveragingConfig, OptimizerConfig, ScheduleConfig
from cifarlab.optim.averaging import Averager


class KeepingOptimizer(OptimizerConfig):
    kind: Literal["keeping"] = "keeping"
    keeps: str = "types"

    def build(self, param_groups: Any) -> torch.optim.Optimizer:
        return KeepingSGD(param_groups, self.keeps)


class KeepingSGD(torch.optim.Optimizer):
    """Steps along the gradient, by what it keeps of the steps before."""

    def __init__(self, param_groups: Any, keeps: str) -> None:
        defaults = {"lr": 0.1, "betas": (0.9, 0.99), "name": "sgd", "seen": 0, "least": None}
        super().__init__(param_groups, defaults)
        self.keeps = keeps

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["seen"] += 1
            self.keep_in_group(group)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.keep(parameter, self.state[parameter])
                    mean = self.state[parameter].get("mean", parameter.grad)
                    parameter.sub_(mean.to(parameter.dtype), alpha=group["lr"])

    def keep_in_group(self, group: dict[str, Any]) -> None:
        if self.keeps == "group tensor":
            group["mean"] = torch.zeros(3)
        elif self.keeps == "group list":
            group["losses"] = [1.0]
        elif self.keeps == "group text" and group["seen"] > 11:
            group["name"] = "late"
        elif self.keeps == "group tuple":
            group["betas"] = (0.9, 1 - 1 / group["seen"])
        elif self.keeps == "types":
            group["least"] = group["seen"] if group["seen"] > 5 else None

    def keep(self, parameter: torch.Tensor, state: dict[str, Any]) -> None:
        if self.keeps == "list":
            state.setdefault("losses", []).append(1.0)
        elif self.keeps == "text":
            state["phase"] = "late"
        elif self.keeps == "stray":
            self.state["global"]["steps"] = 1
        elif self.keeps == "stray number":
            self.state["steps"] = 1
        elif self.keeps == "types":
            mean = state.setdefault("mean", torch.zeros_like(parameter, dtype=torch.float64))
            mean.lerp_(parameter.grad.double(), 0.1)
            half = state.setdefault("half", torch.zeros_like(parameter, dtype=torch.bfloat16))
            half.add_(parameter.grad.bfloat16()).mul_(0.3)
            mean.add_(half.double(), alpha=0.01)
            count = state.setdefault("count", torch.zeros((), dtype=torch.int64))
            count.add_(1)
            mean.mul_(1 - 1 / (3 + int(count)))


class KeepingAveraging(AveragingConfig):
    kind: Literal["keeping"] = "keeping"

    def build(self, network: Any, steps_per_epoch: int, planned_steps: int) -> Averager:
        return KeepingAverager(network)


class KeepingAverager(Averager):
    def update(self, network: Any, step: int, total: int) -> None: ...

    def state_dict(self) -> Any:
        return {"losses": [0.5, 0.25]}


class KeepingSchedule(ScheduleConfig):
    kind: Literal["keeping"] = "keeping"
    needs_validation = True

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return 1.0

    def react(self, state: Any, value: float) -> Any:
        memory: dict[str, Any] = {"losses": [*state.memory.get("losses", ()), value]}
        return state._replace(memory=memory)
