"""The losses' arithmetic, on the logits' device."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot


class WeightedLoss(nn.Module):
    """The loss of each image times the weight of its class.

    The mean divides by the number of images and not, as PyTorch, by the sum of their weights: so
    the passes of a batch and the parts of several processes add up to the whole.
    """

    weights: Tensor | None

    def __init__(self, weights: Sequence[float] | None) -> None:
        super().__init__()
        self.register_buffer("weights", None if weights is None else torch.tensor(weights))

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image (N,) without weights."""
        raise NotImplementedError

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image (N,)."""
        losses = self.losses(logits, labels)
        return losses if self.weights is None else losses * self.weights[labels]


class CrossEntropyLoss(WeightedLoss):
    """Cross-entropy with smoothed labels."""

    def __init__(self, weights: Sequence[float] | None, label_smoothing: float = 0.0) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of each image (N,)."""
        return cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction="none")

    def mean(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean; PyTorch's own where no weights are set, which is one kernel."""
        if self.weights is None:
            return cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return self(logits, labels).mean()


class FocalLoss(WeightedLoss):
    """(1 - p) ** gamma times the cross-entropy."""

    def __init__(self, weights: Sequence[float] | None, gamma: float) -> None:
        super().__init__(weights)
        self.gamma = gamma

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the focal loss of each image (N,)."""
        cross = cross_entropy(logits, labels, reduction="none")
        # 1 - p by expm1: at p near 1 a difference of floats would be 0, and its root's slope none
        return (-torch.expm1(-cross)).clamp_min(1e-12) ** self.gamma * cross


class BinaryCrossEntropyLoss(WeightedLoss):
    """The sum over all classes of the cross-entropy of a yes or no."""

    def __init__(self, weights: Sequence[float] | None, label_smoothing: float = 0.0) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over classes of each image (N,)."""
        targets = one_hot(labels, logits.shape[1]).to(logits.dtype) * (1 - self.label_smoothing)
        targets = targets + self.label_smoothing / logits.shape[1]
        return binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
