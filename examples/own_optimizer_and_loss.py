"""An optimizer and a loss of your own, as a plug-in.

cifarlab train quickstart --plugin examples/own_optimizer_and_loss.py \
    optimizer.kind=sign-sgd optimizer.lr=0.003 loss.kind=poly loss.epsilon=1
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from cifarlab import LossConfig, OptimizerConfig


class SignSGD(OptimizerConfig):
    """Steps of one size in the direction of the gradient's signs (Bernstein et al. 2018)."""

    kind: Literal["sign-sgd"] = "sign-sgd"
    lr: float = Field(1e-3, gt=0, description="peak learning rate")

    def build(self, param_groups: Sequence[dict[str, Any]]) -> Optimizer:
        """Build it over groups of parameters, each with its own ``lr``."""
        return SignSGDOptimizer(param_groups, self.lr)


class SignSGDOptimizer(Optimizer):
    """As ``SignSGD`` says."""

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient; weight decay is L2 in it."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    gradient = p.grad.add(p, alpha=group["weight_decay"])
                    p.add_(gradient.sign(), alpha=-group["lr"])


class PolyLoss(LossConfig):
    """Cross-entropy and a linear term, epsilon * (1 - p) (Leng et al. 2022, equation 5)."""

    kind: Literal["poly"] = "poly"
    epsilon: float = Field(1.0, ge=0, description="weight of the linear term")

    def build(
        self, classes: Sequence[str], counts: Sequence[int]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a function from logits (N, K) and labels (N,) to the loss of each image (N,)."""

        def losses(logits: Tensor, labels: Tensor) -> Tensor:
            cross = cross_entropy(logits, labels, reduction="none")
            return cross + self.epsilon * (1 - (-cross).exp())

        return losses
