"""Parts of somebody's own, as a plug-in: one of each family, in one file."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from cifarlab import (
    Arrays,
    ArraySourceConfig,
    AugmentationConfig,
    Callback,
    CallbackConfig,
    LossConfig,
    MetricConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrialSamplerConfig,
    TrialSchedulerConfig,
)


class OwnNet(ModelConfig):
    """Two convolutions, and means of what they find."""

    kind: Literal["own-net"] = "own-net"
    width: int = Field(8, ge=1, description="channels")

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(image_shape[2], self.width, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.width),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * self.width, classes),
        )


class OwnSignSGD(OptimizerConfig):
    """Steps of one size, along the signs of the averaged gradient (Bernstein et al. 2018)."""

    kind: Literal["own-sign"] = "own-sign"
    lr: float = Field(0.01, gt=0, description="peak learning rate")
    beta: float = Field(0.9, ge=0, lt=1, description="of the gradient's average")

    def build(self, param_groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return SignSGD(param_groups, {"lr": self.lr, "beta": self.beta})


class SignSGD(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                average = state.setdefault("average", torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group["beta"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(average.sign(), alpha=-group["lr"])


class OwnTriangle(ScheduleConfig):
    """Up to the peak in the middle of the run, and down again."""

    kind: Literal["own-triangle"] = "own-triangle"
    end_factor: float = Field(0.1, gt=0, le=1, description="factor at both ends")

    def factor_at(self, step: int, total: int, steps_per_epoch: int) -> float:
        height = 1 - abs(2 * step / max(1, total) - 1)
        return self.end_factor + (1 - self.end_factor) * height


class OwnLoss(LossConfig):
    """Cross-entropy of logits that are drawn towards zero."""

    kind: Literal["own-loss"] = "own-loss"
    pull: float = Field(0.01, ge=0, description="of the mean squared logit")

    def build(self, classes: Any, counts: Any) -> Any:
        def losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            cross = nn.functional.cross_entropy(logits, labels, reduction="none")
            return cross + self.pull * logits.square().mean(1)

        return losses


class OwnMetric(MetricConfig):
    """By how much the true class's logit is above the mean."""

    kind: Literal["own-margin"] = "own-margin"

    def value(self, logits: np.ndarray, labels: np.ndarray) -> float:
        return float((logits[np.arange(len(labels)), labels] - logits.mean(1)).mean())


class OwnStripes(AugmentationConfig):
    """One black row in some images."""

    kind: Literal["own-stripes"] = "own-stripes"
    fraction: float = Field(0.5, ge=0, le=1, description="of the images")

    def apply(self, images: torch.Tensor, draws: Any) -> torch.Tensor:
        values = draws.uniform(2)
        rows = (values[:, 1] * images.shape[1]).long()
        mask = (values[:, :1] < self.fraction) & (
            torch.arange(images.shape[1], device=images.device) == rows[:, None]
        )
        return images.masked_fill(mask[:, :, None, None], 0)


class OwnSource(ArraySourceConfig):
    """Bars, upright or lying, in noise."""

    kind: Literal["own-bars"] = "own-bars"
    images: int = Field(600, ge=10, description="how many")

    def read(self) -> Arrays:
        rng = np.random.default_rng(0)
        labels = np.arange(self.images) % 2
        images = rng.integers(0, 120, (self.images, 8, 8, 1), np.uint8)
        for image, label in zip(images, labels, strict=True):
            position = rng.integers(1, 7)
            bar = image[:, position] if label else image[position]
            bar += 60
        return Arrays(("lying", "upright"), (images, labels))


class OwnCallback(CallbackConfig):
    """Note each epoch's loss in a file of the run folder."""

    kind: Literal["own-notes"] = "own-notes"
    file: str = Field("notes.txt", description="its name")

    def build(self) -> Callback:
        return LossNotes(self.file)


class LossNotes(Callback):
    def __init__(self, file: str) -> None:
        self.file = file

    def on_epoch_end(self, run: Any, line: dict[str, Any]) -> None:
        with (run.folder.path / self.file).open("a") as file:
            file.write(f"{line['epoch']} {line['train']['loss']}\n")


class OwnSampler(TrialSamplerConfig):
    """Every point is drawn independently, by seeds of its own."""

    kind: Literal["own-random"] = "own-random"

    def build(self, seed: int) -> Any:
        from optuna import samplers

        return samplers.RandomSampler(seed + 1)


class OwnScheduler(TrialSchedulerConfig):
    """Stop, after the first epoch, whatever is worse than the best so far."""

    kind: Literal["own-best"] = "own-best"

    def rungs(self, epochs: int, scale: float) -> list[int]:
        return [1] if epochs > 1 else []

    def cutoff(self, earlier_scores: Sequence[float]) -> float | None:
        return max(earlier_scores, default=None)
