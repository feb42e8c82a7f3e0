"""A loss that sleeps at each step, as a plug-in: a recipe of a known speed."""

import time
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from cifarlab import LossConfig


class SleepyLoss(LossConfig):
    """Cross-entropy after a pause."""

    kind: Literal["sleepy"] = "sleepy"
    pause: float = Field(0.0, ge=0, description="seconds at each step")

    def build(
        self, classes: Sequence[str], counts: Sequence[int]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        def losses(logits: Tensor, labels: Tensor) -> Tensor:
            time.sleep(self.pause)
            return cross_entropy(logits, labels, reduction="none")

        return losses
