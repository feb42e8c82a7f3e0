"""What a network is made of, read off the network itself: stages, blocks, layers, their cost.

The network is built without values and given one image; PyTorch counts its operations. A
multiply-add is one of the products of a convolution or a linear layer, with its addition: half of
what torch.utils.flop_counter counts. Normalisation and activations are not counted, as in He et
al. 2016a.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cifarlab.models.build import build_for_weights
from cifarlab.models.configs import Model
from cifarlab.models.outline import Block, LayerStep, Shortcut, network_outline


@dataclass(frozen=True)
class BlockSummary:
    """Layers one after the other, ``times`` times; the numbers are of all these times together.

    ``shape`` is what it puts out: (C, H, W), or (C,) behind a linear layer.
    """

    steps: tuple[LayerStep, ...]
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    shortcut: Shortcut | None = None
    times: int = 1


@dataclass(frozen=True)
class Stage:
    """Blocks that belong together, equal ones grouped."""

    name: str
    blocks: tuple[BlockSummary, ...]


@dataclass(frozen=True)
class Architecture:
    """A whole network for images of (H, W, C).

    ``parameters`` are those that are trained, ``multiply_adds`` those of one image.
    """

    image_shape: tuple[int, int, int]
    stages: tuple[Stage, ...]
    parameters: int
    multiply_adds: int


def architecture(model: Model, image_shape: tuple[int, int, int], classes: int) -> Architecture:
    """Describe the recipe's network for images (H, W, C) of K classes. Raises RecipeError."""
    body = build_for_weights(model, image_shape, classes).eval()
    costs = _Costs(body, image_shape)
    stages = [
        Stage(name, group_equal(costs.summary(block) for block in blocks if costs.runs(block)))
        for name, blocks in network_outline(body).items()
    ]
    return Architecture(
        image_shape,
        tuple(stage for stage in stages if stage.blocks),
        _count_parameters([body]),
        costs.multiply_adds(body),
    )


def _count_parameters(modules: Iterable[nn.Module]) -> int:
    return sum(p.numel() for m in modules for p in m.parameters() if p.requires_grad)


class _Costs:
    """What each module of a network put out for one image, and how many multiply-adds it took."""

    def __init__(self, body: nn.Module, image_shape: tuple[int, int, int]) -> None:
        height, width, channels = image_shape
        self._shapes: dict[nn.Module, tuple[int, ...]] = {}
        self._uses = Counter[nn.Module]()
        handles = [m.register_forward_hook(self._record_shape) for m in body.modules()]
        counter = FlopCounterMode(display=False)
        try:
            with torch.no_grad(), counter:
                body(torch.zeros(1, channels, height, width))
        finally:
            for handle in handles:
                handle.remove()
        root = type(body).__name__
        counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
        self._operations = {
            module: counts.get(f"{root}.{name}" if name else root, 0)
            for name, module in body.named_modules()
        }

    def _record_shape(self, module: nn.Module, _inputs: Any, out: Any) -> None:
        self._uses[module] += 1
        if isinstance(out, torch.Tensor):
            self._shapes[module] = tuple(out.shape[1:])

    def multiply_adds(self, module: nn.Module) -> int:
        """Of one image."""
        return self._operations[module] // 2

    def runs(self, block: Block) -> bool:
        """Whether there is something to draw that one image passed, at one place."""
        shared = not _count_parameters(block.modules) and self._uses[block.modules[-1]] > 1
        ran = any(module in self._shapes for module in block.modules)
        return bool(block.steps) and ran and not shared

    def summary(self, block: Block) -> BlockSummary:
        """The block with its costs."""
        return BlockSummary(
            steps=block.steps,
            shape=[self._shapes[m] for m in block.modules if m in self._shapes][-1],
            parameters=_count_parameters(block.modules),
            multiply_adds=sum(self._operations[module] for module in block.modules) // 2,
            shortcut=block.shortcut,
        )


def group_equal(blocks: Iterable[BlockSummary]) -> tuple[BlockSummary, ...]:
    """Equal blocks that follow each other as one."""
    groups: list[tuple[BlockSummary, int]] = []
    for block in blocks:
        if groups and groups[-1][0] == block:
            groups[-1] = (block, groups[-1][1] + 1)
        else:
            groups.append((block, 1))
    return tuple(
        replace(
            block,
            times=times,
            parameters=block.parameters * times,
            multiply_adds=block.multiply_adds * times,
        )
        for block, times in groups
    )
