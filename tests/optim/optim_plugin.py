"""A plug-in file as a user writes one: an optimizer, two schedules and two averages."""

from typing import Literal

import torch
from pydantic import Field

from cifarlab.optim.averaging import Averager, AveragingConfig
from cifarlab.optim.optimizers import OptimizerConfig
from cifarlab.optim.schedules import ScheduleConfig


class SignMomentum(torch.optim.Optimizer):
    """Signed momentum that fades with the number of its steps, of which it counts two ways."""

    def __init__(self, groups, lr, beta):
        super().__init__(groups, {"lr": lr, "beta": beta, "weight_decay": 0.0, "steps": 0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            group["steps"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                state["steps"] = state.get("steps", 0) + 1
                mean = state.setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["beta"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(mean.sign(), alpha=group["lr"] / (state["steps"] * group["steps"]) ** 0.1)


class SignsConfig(OptimizerConfig):
    """The sign of momentum."""

    kind: Literal["signs"] = "signs"
    lr: float = Field(0.01, gt=0, description="peak learning rate")
    beta: float = Field(0.9, ge=0, lt=1, description="momentum")

    def build(self, param_groups):
        return SignMomentum(param_groups, self.lr, self.beta)


class Sawtooth(ScheduleConfig):
    """Down from the peak in every epoch."""

    kind: Literal["sawtooth"] = "sawtooth"
    depth: float = Field(0.5, ge=0, le=1, description="what is lost in an epoch")

    def factor_at(self, step, total, steps_per_epoch):
        return 1 - self.depth * (step % steps_per_epoch) / steps_per_epoch


class CautiousSchedule(ScheduleConfig):
    """Halves the rate after every epoch whose loss is above the mean of those before."""

    kind: Literal["timid"] = "timid"
    needs_validation = True
    patience: int = Field(0, ge=0, description="epochs that are borne")

    def factor_at(self, step, total, steps_per_epoch):
        return 1.0

    def react(self, state, loss):
        count, total = state.memory.get("count", 0), state.memory.get("total", 0.0)
        memory = {"count": count + 1, "total": total + loss}
        is_worse = count > self.patience and loss > 0.99 * total / count
        return state._replace(factor=state.factor * (0.5 if is_worse else 0.9), memory=memory)

    def scaled(self, scale):
        return {"patience": round(self.patience * scale)}


class HalfAveraging(AveragingConfig):
    """The mean of the weights and their mean so far, every so many steps."""

    first_average_advice = "lower averaging.every, "
    kind: Literal["half"] = "half"
    every: int = Field(4, ge=1, description="steps from one update to the next")

    def first_average(self, steps_per_epoch, planned_steps):
        return self.every

    def build(self, network, steps_per_epoch, planned_steps):
        return HalfAverager(network, self.every)


class HalfAverager(Averager):
    """Averages as ``HalfAveraging`` says."""

    def __init__(self, network, every):
        super().__init__(network)
        self.every = self.first_step = every

    @torch.no_grad()
    def update(self, network, step, total):
        if (step + 1) % self.every == 0:
            pairs = zip(
                self.average.state_dict().values(), network.state_dict().values(), strict=True
            )
            for mean, value in pairs:
                mean.lerp_(value, 0.5) if mean.is_floating_point() else mean.copy_(value)


class ChaseAveraging(AveragingConfig):
    """An average that runs after the weights with a momentum of its own."""

    kind: Literal["chase"] = "chase"

    def first_average(self, steps_per_epoch, planned_steps):
        return 2

    def build(self, network, steps_per_epoch, planned_steps):
        return ChaseAverager(network)


class ChaseAverager(Averager):
    """Has velocities, and counts its updates."""

    def __init__(self, network):
        super().__init__(network)
        self.updates = 0
        self.velocities = [torch.zeros_like(p) for p in network.parameters()]

    @torch.no_grad()
    def update(self, network, step, total):
        self.updates += 1
        pairs = zip(self.average.parameters(), network.parameters(), strict=True)
        for (mean, weight), velocity in zip(pairs, self.velocities, strict=True):
            velocity.mul_(0.5).add_(weight - mean, alpha=0.5 / self.updates**0.1)
            mean.add_(velocity)

    def state_dict(self):
        tensors = {f"velocity.{i}": velocity for i, velocity in enumerate(self.velocities)}
        return {"updates": self.updates, **tensors}

    def load_state_dict(self, state):
        self.updates = state["updates"]
        for i, velocity in enumerate(self.velocities):
            velocity.copy_(state[f"velocity.{i}"])
