"""A plug-in whose parts train well and fail later: as the variable MOODY says, by their names."""

import os
from typing import Any, Literal

import numpy as np
from torch import nn

from cifarlab import MetricConfig, ModelConfig, TrialSamplerConfig, TrialSchedulerConfig


def fail_if_moody(name: str) -> None:
    if os.environ.get("MOODY") == name:
        raise KeyError("mine")


class MoodyNet(ModelConfig):
    kind: Literal["moody"] = "moody"

    def build(self, image_shape: Any, classes: int) -> nn.Module:
        return nn.Sequential(Moody(), nn.Conv2d(image_shape[2], 4, 3, padding=1), Head(4, classes))


class Moody(nn.Module):
    def forward(self, images: Any) -> Any:
        if images.any():  # the image that a network is tried with is black
            fail_if_moody("network")
        return images


class Head(nn.Linear):
    def forward(self, maps: Any) -> Any:
        return super().forward(maps.mean((2, 3)))


class MoodySampler(TrialSamplerConfig):
    kind: Literal["moody"] = "moody"

    def build(self, seed: int) -> Any:
        from optuna import samplers

        fail_if_moody("sampler")
        return samplers.RandomSampler(seed)


class MoodyScheduler(TrialSchedulerConfig):
    kind: Literal["moody"] = "moody"

    def cutoff(self, earlier_scores: Any) -> float | None:
        fail_if_moody("scheduler")
        return None


class MoodyMetric(MetricConfig):
    """The largest logit, on average."""

    kind: Literal["moody"] = "moody"

    def value(self, logits: np.ndarray, labels: np.ndarray) -> float:
        fail_if_moody("metric")
        return float(logits.max(1).mean())
