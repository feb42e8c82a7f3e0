"""A plug-in whose parts are built well, and fail within training, at their fourth call."""

import itertools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cifarlab import (
    AugmentationConfig,
    AveragingConfig,
    Callback,
    CallbackConfig,
    LossConfig,
    MetricConfig,
    MixConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from cifarlab.optim.averaging import Averager


def fail_at_fourth_call() -> Callable[[], None]:
    calls = itertools.count(1)

    def fail() -> None:
        if next(calls) >= 4:
            raise KeyError("mine")

    return fail


class LateLoss(LossConfig):
    kind: Literal["late"] = "late"
    mixes = True

    def build(self, classes: Any, counts: Any) -> Any:
        fail = fail_at_fourth_call()

        def losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            fail()
            return cross_entropy(logits, labels, reduction="none")

        return losses


class LateNetwork(ModelConfig):
    kind: Literal["late"] = "late"

    def build(self, image_shape: Any, classes: int) -> nn.Module:
        return Late(image_shape, classes)


class Late(nn.Sequential):
    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        height, width, channels = image_shape
        super().__init__(nn.Flatten(), nn.Linear(height * width * channels, classes))
        self.fail = fail_at_fourth_call()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.fail()
        return super().forward(images)


class LateOptimizer(OptimizerConfig):
    kind: Literal["late"] = "late"
    lr: float = 0.1

    def build(self, param_groups: Any) -> torch.optim.Optimizer:
        return LateSGD(param_groups, lr=self.lr)


class LateSGD(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        self.defaults.setdefault("fail", fail_at_fourth_call())()


class LateSchedule(ScheduleConfig):
    kind: Literal["late"] = "late"

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        return {0: 1.0, 1: 1.0, 2: 1.0}[step]


class LateAveraging(AveragingConfig):
    kind: Literal["late"] = "late"

    def build(self, network: Any, steps_per_epoch: int, planned: int) -> Any:
        return LateAverager(network)


class LateAverager(Averager[Any]):
    def update(self, network: Any, step: int, total: int) -> None:
        if step >= 3:
            raise KeyError("mine")


class LateMetric(MetricConfig):
    kind: Literal["late"] = "late"

    def value(self, logits: Any, labels: Any) -> float:
        return {}["mine"]


class LateAugmentation(AugmentationConfig):
    kind: Literal["late"] = "late"

    def apply(self, images: torch.Tensor, draws: Any) -> torch.Tensor:
        return images if draws.step < 3 else {}["mine"]


class LateMix(MixConfig):
    kind: Literal["late"] = "late"

    def mix(self, images: torch.Tensor, seed: int, epoch: int, step: int) -> Any:
        return (images, None, 1.0) if step < 3 else {}["mine"]


class LateCallback(CallbackConfig):
    kind: Literal["late"] = "late"

    def build(self) -> Callback:
        return Stumble()


class Stumble(Callback):
    def on_step_end(self, run: Any, images: int) -> None:
        if run.state.step == 4:
            raise KeyError("mine")
