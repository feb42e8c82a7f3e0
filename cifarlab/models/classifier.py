"""From raw pixels to logits: the one preprocessing, kept inside the network.

The normalisation is a part of the module, so training, evaluation, checkpoints and export can't
differ in it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Normalisation, then ``body``; ``mean`` and ``std`` per channel in units of 0..1."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.body = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, H, W, C), uint8 or float in 0..255, to logits (N, K), float32.

        A permuted (N, H, W, C) tensor is what PyTorch calls channels_last: nothing is copied.
        """
        pixels = (images.to(torch.float32) / 255 - self.mean) / self.std
        logits: Tensor = self.body(pixels.permute(0, 3, 1, 2))
        return logits
