"""The random numbers of one batch of images."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Draws:
    """Draws from a CPU's generator, so that they are the same on every ``device`` of images."""

    generator: torch.Generator
    device: torch.device

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""
        return self.send(torch.randn(shape, generator=self.generator))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw numbers.

        Args:
            low: the least number
            high: above the largest number
            *shape: of the tensor
        """
        return self.send(torch.rand(shape, generator=self.generator) * (high - low) + low)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Draw integers int64.

        Args:
            low: the least integer
            high: above the largest integer
            *shape: of the tensor
        """
        return self.send(torch.randint(low, high, shape, generator=self.generator))

    def send(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the images' device, without waiting for it."""
        return tensor.to(self.device, non_blocking=True)
