"""What a network is made of: stages, blocks, layers and their cost, measured on the network itself.

The network is built, and PyTorch counts its operations for one image. A multiply-add is a product
of a convolution or a linear layer with its addition: half of what torch.utils.flop_counter counts.
Normalisation and activations are not counted, as in He et al. 2016a.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cifarlab.models.build import build_for_weights
from cifarlab.models.configs import Model
from cifarlab.models.outline import Block, LayerStep, Shortcut, network_outline


class BlockSummary(NamedTuple):
    """A sequence of layers that occurs ``times`` times in a row.

    Parameters and multiply-adds are summed over these times. ``shape`` is the output's: (C, H, W),
    or (C,) after a linear layer.
    """

    steps: tuple[LayerStep, ...]
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    shortcut: Shortcut | None = None
    times: int = 1


class Stage(NamedTuple):
    """Blocks that belong together, equal ones grouped."""

    name: str
    blocks: tuple[BlockSummary, ...]


class Architecture(NamedTuple):
    """A whole network for images of (H, W, C).

    ``parameters`` are those that are trained, ``multiply_adds`` those of one image.
    """

    image_shape: tuple[int, int, int]
    stages: tuple[Stage, ...]
    parameters: int
    multiply_adds: int


def architecture(model: Model, image_shape: tuple[int, int, int], classes: int) -> Architecture:
    """Describe a recipe's network.

    Args:
        model: the recipe's part on the model
        image_shape: (H, W, C)
        classes: how many classes there are

    Raises:
        RecipeError: such a network can't be built for these images
    """
    body = build_for_weights(model, image_shape, classes).eval()
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    uses = Counter[nn.Module]()

    def record(module: nn.Module, _inputs: Any, out: Any) -> None:
        uses[module] += 1
        if isinstance(out, torch.Tensor):
            shapes[module] = tuple(out.shape[1:])

    for module in body.modules():
        module.register_forward_hook(record)
    operations = _count_operations(body, image_shape)

    def summarize(block: Block) -> Iterator[BlockSummary]:
        """Yield a block that has layers to draw and was used; not an activation used repeatedly."""
        parameters = _count_parameters(block.modules)
        outputs = [shapes[module] for module in block.modules if module in shapes]
        is_shared = not parameters and uses[block.modules[-1]] > 1
        if block.steps and outputs and not is_shared:
            multiply_adds = sum(operations[module] for module in block.modules) // 2
            yield BlockSummary(block.steps, outputs[-1], parameters, multiply_adds, block.shortcut)

    stages = [
        Stage(name, group_equal(summary for block in blocks for summary in summarize(block)))
        for name, blocks in network_outline(body).items()
    ]
    full_stages = tuple(stage for stage in stages if stage.blocks)
    return Architecture(image_shape, full_stages, _count_parameters([body]), operations[body] // 2)


def _count_parameters(modules: Iterable[nn.Module]) -> int:
    return sum(p.numel() for m in modules for p in m.parameters() if p.requires_grad)


def _count_operations(body: nn.Module, image_shape: tuple[int, int, int]) -> dict[nn.Module, int]:
    """Return each module's operations for one image; a multiply-add counts as two."""
    height, width, channels = image_shape
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        body(torch.zeros(1, channels, height, width))
    counts, root = counter.get_flop_counts(), type(body).__name__
    return {
        module: sum(counts.get(f"{root}.{name}" if name else root, {}).values())
        for name, module in body.named_modules()
    }


def group_equal(blocks: Iterable[BlockSummary]) -> tuple[BlockSummary, ...]:
    """Return the blocks, equal ones that follow each other joined to one."""
    summaries = []
    for block, equal in groupby(blocks):
        times = len(list(equal))
        parameters, multiply_adds = block.parameters * times, block.multiply_adds * times
        summaries.append(
            BlockSummary(block.steps, block.shape, parameters, multiply_adds, block.shortcut, times)
        )
    return tuple(summaries)
