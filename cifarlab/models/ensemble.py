"""Several trained networks as one, whose probabilities are the mean of theirs.

Lakshminarayanan et al. 2017. Probabilities are averaged and not logits: of logits, the member with
the largest would outvote the others, however large they are by chance. The temperature is fitted on
the mean, since the mean of calibrated members is not calibrated (Rahaman & Thiery 2021).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cifarlab.models.classifier import Classifier


class EnsembleMember(nn.Module):
    """A network with the channel statistics that it was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits float32 (N, K) of pixels in 0..1 (N, C, H, W)."""
        mean, std = (values[:, None, None] for values in (self.mean, self.std))
        logits: Tensor = self.body((pixels - mean) / std)
        return logits.float()


class Ensemble(nn.Module):
    """Members (N, C, H, W) -> (N, K); returns the logarithm of their mean probabilities."""

    def __init__(self, members: Sequence[EnsembleMember]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        formats = {getattr(m.body, "memory_format", torch.contiguous_format) for m in members}
        self.memory_format = formats.pop() if len(formats) == 1 else torch.contiguous_format

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits float32 (N, K), whose softmax is the mean of the members'."""
        by_member = torch.stack([member(pixels).log_softmax(1) for member in self.members])
        return by_member.logsumexp(0) - math.log(len(self.members))


def build_ensemble(bodies: Sequence[nn.Module], channels: int) -> Ensemble:
    """Return an ensemble of networks, for weights that are loaded next.

    Args:
        bodies: the networks
        channels: C, of their images
    """
    return Ensemble(
        [EnsembleMember(b, torch.zeros(channels), torch.ones(channels)) for b in bodies]
    )


def join_classifiers(classifiers: Sequence[Classifier]) -> Classifier:
    """Return the ensemble of trained classifiers, whose modules it shares.

    All normalise each image by itself, or none does.
    """
    members = [EnsembleMember(c.body, c.mean, c.std) for c in classifiers]
    first = classifiers[0]
    zeros, ones = [0.0] * len(first.mean), [1.0] * len(first.mean)
    return Classifier(Ensemble(members), zeros, ones, first.by_image)
