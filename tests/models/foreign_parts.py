"""A plug-in as a user writes one: a network and a normalization that say nothing more."""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from cifarlab.models.configs import ModelConfig
from cifarlab.models.norm_configs import NormConfig


class Foreign(nn.Module):
    """As in tutorials: ``view``, one ReLU for all, what no state_dict has, a list of blocks."""

    def __init__(self, channels, width, features, classes):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.register_buffer("scale", torch.full((1,), 0.5), persistent=False)
        self.shift = torch.linspace(0.1, 0.2, 3).tolist()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(w, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width))
            for w in (width, 2 * width)
        )
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(features, 16)
        self.norm = nn.LayerNorm(16)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(16, classes)

    def forward(self, x):
        """(N, C, H, W) -> (N, K)."""
        x = self.relu(self.stem(x)) * self.scale + self.shift[0]
        for block in self.blocks:
            x = self.pool(self.relu(block(x)))
        x = x.view(x.size(0), -1)
        return self.fc(self.drop(self.norm(self.relu(self.hidden(x)))))


class ForeignConfig(ModelConfig):
    """A network of one's own."""

    kind: Literal["foreign"] = "foreign"
    width: int = Field(4, ge=1, description="channels of the first layer")

    def build(self, image_shape, classes):
        """Build it."""
        height, width, channels = image_shape
        features = 2 * self.width * (height // 4) * (width // 4)
        return Foreign(channels, self.width, features, classes)


class MisfitConfig(ModelConfig):
    """A network that makes something else than logits."""

    kind: Literal["misfit"] = "misfit"
    problem: Literal["classes", "raises", "list"] = "classes"

    def build(self, image_shape, classes):
        """Build what does not fit."""
        if self.problem == "raises":
            raise ValueError("no such\nthing")
        features = image_shape[0] * image_shape[1] * image_shape[2]
        flat = nn.Sequential(nn.Flatten(), nn.Linear(features, classes + 1))
        return Lists() if self.problem == "list" else flat


class Lists(nn.Module):
    """A list in place of logits."""

    def forward(self, x):
        """Any shape."""
        return [x]


class MaxNorm(nn.Module):
    """Each image over its largest value."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        """The same shape out."""
        largest = x.flatten(1).abs().amax(1).clamp(min=0.1)
        ones = (1,) * (x.ndim - 2)
        return x / largest.view(-1, 1, *ones) * self.weight.view(1, -1, *ones)


class MaxNormConfig(NormConfig):
    """Over the largest value."""

    kind: Literal["max"] = "max"

    def build(self, channels, size):
        """Build it."""
        return MaxNorm(channels)
