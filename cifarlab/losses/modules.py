"""The losses' arithmetic, on the logits' device."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

# logits (N, K) and labels int64 (N,) to the loss of each image (N,)
LossFunction = Callable[[Tensor, Tensor], Tensor]


class WeightedLoss(nn.Module):
    """The loss of each image times the weight of its class.

    The mean divides by the number of images and not, as in PyTorch, by the sum of their weights:
    so the means over micro batches and processes combine to that over the batch. ``mean``, used
    where no weights are set, computes it in a single kernel.
    """

    weights: Tensor | None

    def __init__(
        self,
        losses: LossFunction,
        weights: Sequence[float] | None,
        mean: LossFunction | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weights", None if weights is None else torch.tensor(weights))
        self.losses, self.mean = losses, mean if weights is None else None

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image (N,)."""
        losses = self.losses(logits, labels)
        return losses if self.weights is None else losses * self.weights[labels]


def focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return (1 - p) ** gamma times the cross-entropy of each image (N,).

    Args:
        logits: (N, K)
        labels: int64 (N,)
        gamma: the exponent; 0: plain cross-entropy
    """
    cross = cross_entropy(logits, labels, reduction="none")
    # 1 - p by expm1: for p near 1 a difference of floats would be 0, without a gradient
    return (-torch.expm1(-cross)).clamp_min(1e-12) ** gamma * cross


def binary_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Return the binary cross-entropy of each image (N,), summed over the classes.

    Args:
        logits: (N, K)
        labels: int64 (N,)
        label_smoothing: fraction of the target that is spread over all classes
    """
    targets = one_hot(labels, logits.shape[1]).to(logits.dtype) * (1 - label_smoothing)
    targets = targets + label_smoothing / logits.shape[1]
    return binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
