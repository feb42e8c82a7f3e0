"""Parts of somebody's own that all fail, each in another method."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from cifarlab import (
    Arrays,
    ArraySourceConfig,
    LossConfig,
    MetricConfig,
    OptimizerConfig,
    SamplerConfig,
    SourceConfig,
)
from cifarlab.optim.averaging import AveragingConfig


def fail(*_: Any) -> Any:
    return {}["mine"]


class Failing(SourceConfig):
    kind: Literal["failing"] = "failing"
    method: str = "find"

    def find(self, progress: Any = None) -> Path | None:
        return fail() if self.method == "find" else None

    def cache_key(self, path: Path | None) -> object:
        return {fail} if self.method == "identity" else fail() if self.method == "code" else 1

    def decode(self, path: Path | None, request: Any) -> Any:
        return Path("none").read_bytes() if self.method == "disk" else fail()


class Writing(ArraySourceConfig):
    kind: Literal["writing"] = "writing"

    def read(self) -> Arrays:
        return Arrays(("a", "b"), (np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2))


class FailingSampler(SamplerConfig):
    kind: Literal["failing"] = "failing"

    def build(self, training: Any) -> Any:
        return fail


class FailingLoss(LossConfig):
    kind: Literal["failing"] = "failing"
    fails_late: bool = False

    def build(self, classes: Any, counts: Any) -> Any:
        return fail if self.fails_late else fail()


class FailingOptimizer(OptimizerConfig):
    kind: Literal["failing"] = "failing"
    lr: float = 0.1

    def build(self, param_groups: Any) -> Any:
        return fail()


class FailingAveraging(AveragingConfig):
    kind: Literal["failing"] = "failing"

    def build(self, network: Any, steps_per_epoch: int, planned: int) -> Any:
        return fail()


class FailingMetric(MetricConfig):
    kind: Literal["failing"] = "failing"

    def value(self, logits: Any, labels: Any) -> float:
        return fail()
