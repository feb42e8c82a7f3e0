"""What all shipped networks tell tools about themselves (models/network.py)."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import nn

from cifarlab.models.outline import Block, Outline, outline_block


class Parts(NamedTuple):
    """A network's parts in the order of the data.

    ``entrance`` and ``stages`` are by name; ``tail`` belongs to the last stage, ``head`` to none.
    """

    entrance: dict[str, nn.Module]
    stages: dict[str, nn.Module]
    tail: nn.Sequential
    head: Block


class StagedNetwork(nn.Module, ABC):
    """A network of stages. A subclass has the method ``parts``."""

    memory_format = torch.channels_last

    @abstractmethod
    def parts(self) -> Parts:
        """Return the network's parts."""

    def stage_modules(self) -> list[list[nn.Module]]:
        """Return the stages; the entrance belongs to the first, the tail to the last."""
        parts = self.parts()
        modules = [[stage] for stage in parts.stages.values()]
        modules[0][:0] = parts.entrance.values()
        modules[-1].append(parts.tail)
        return modules

    def map_layers(self) -> dict[str, nn.Module]:
        """Return whitening layer, stem and stages by name; the tail stands for the last stage.

        A stage that ends with a pool is represented by the layer before it, whose map is finer.
        """
        parts = self.parts()
        layers = {name: part for name, part in parts.entrance.items() if name != "input"}
        layers |= {name: _last_map(stage) for name, stage in parts.stages.items()}
        if len(parts.tail):
            layers[next(reversed(layers))] = parts.tail
        return {name: layer for name, layer in layers.items() if not isinstance(layer, nn.Identity)}

    def outline(self) -> Outline:
        """Return the blocks of the entrance, of the stages and of the head."""
        parts = self.parts()
        blocks = {name: [outline_block(part)] for name, part in parts.entrance.items()}
        for name, stage in parts.stages.items():
            inner = [outline_block(c) for c in stage.children() if hasattr(c, "outline")]
            blocks[name] = inner or [outline_block(stage)]
        return {**blocks, "head": [parts.head]}


def _last_map(stage: nn.Module) -> nn.Module:
    layers = reversed(stage) if isinstance(stage, nn.Sequential) else [stage]
    return next(layer for layer in layers if not isinstance(layer, nn.Dropout | nn.MaxPool2d))
