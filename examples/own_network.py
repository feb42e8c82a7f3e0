"""A network of your own, as a plug-in.

cifarlab train quickstart --plugin examples/own_network.py model.kind=two-paths model.width=16

A network says nothing about itself here: its children are its stages (for freezing and maps). What
it may say stands in docs/extend.md under "What a part may also say".
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cifarlab import ModelConfig


class TwoPaths(ModelConfig):
    """Small and large filters side by side, then one linear layer."""

    kind: Literal["two-paths"] = "two-paths"
    width: int = Field(32, ge=1, description="channels of each path")

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Build the network for images (H, W, C) of K classes."""
        return TwoPathsNet(image_shape[2], self.width, classes)


class TwoPathsNet(nn.Module):
    """Images (N, C, H, W) to logits (N, K)."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.fine = _path(channels, width, kernel_size=3)
        self.coarse = _path(channels, width, kernel_size=5)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        fine, coarse = self.fine(images), self.coarse(images)
        return self.head(torch.cat([fine.amax((2, 3)), coarse.amax((2, 3))], 1))


def _path(channels: int, width: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size, padding="same", bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
