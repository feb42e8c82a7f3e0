"""What a network is made of, read off the network itself: stages, blocks, layers, their cost.

The network is built without values and given one image; PyTorch counts its operations. A
multiply-add is one of the products of a convolution or a linear layer, with its addition: half of
what torch.utils.flop_counter counts. Normalisation and activations are not counted, as in He et
al. 2016a.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cifarlab.explain.steps import Step, add, steps_of
from cifarlab.models.airbench_modules import ConvGroup, AirbenchNet
from cifarlab.models.build import build_body
from cifarlab.models.cnn_modules import ConvNet
from cifarlab.models.configs import Model
from cifarlab.models.resnet_modules import Block as ResidualBlock
from cifarlab.models.resnet_modules import NormalizerFreeBlock, ResNet


class Shortcut(NamedTuple):
    """A way around layers: from before step ``start`` to step ``end``, which adds; its layers."""

    start: int
    end: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Block:
    """Layers one after the other, ``times`` times; the numbers are of all these times together.

    ``shape`` is what it puts out: (C, H, W), or (C,) behind a linear layer.
    """

    steps: tuple[Step, ...]
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    shortcut: Shortcut | None = None
    times: int = 1


@dataclass(frozen=True)
class Stage:
    """Blocks that belong together, equal ones grouped."""

    name: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Architecture:
    """A whole network for images of (H, W, C); ``parameters`` are those that are trained."""

    image_shape: tuple[int, int, int]
    stages: tuple[Stage, ...]

    @property
    def parameters(self) -> int:
        """All that are trained."""
        return sum(block.parameters for stage in self.stages for block in stage.blocks)

    @property
    def multiply_adds(self) -> int:
        """Of one image."""
        return sum(block.multiply_adds for stage in self.stages for block in stage.blocks)


def architecture(model: Model, image_shape: tuple[int, int, int], classes: int) -> Architecture:
    """Describe the recipe's network for images (H, W, C) of K classes. Raises RecipeError."""
    with torch.device("meta"):
        body = build_body(model, image_shape, classes).eval()
    body = body.to_empty(device="cpu")
    costs = _Costs(body, image_shape)
    parts: dict[type, Any] = {ConvNet: _plain, ResNet: _residual, AirbenchNet: _speed}
    stages = parts[type(body)](body, costs)
    return Architecture(image_shape, tuple(s for s in stages if any(b.steps for b in s.blocks)))


class _Costs:
    """What each module of a network put out for one image, and how many multiply-adds it took."""

    def __init__(self, body: nn.Module, image_shape: tuple[int, int, int]) -> None:
        height, width, channels = image_shape
        self._shapes: dict[nn.Module, tuple[int, ...]] = {}
        handles = [m.register_forward_hook(self._note) for m in body.modules()]
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

    def _note(self, module: nn.Module, _given: Any, out: torch.Tensor) -> None:
        self._shapes[module] = tuple(out.shape[1:])

    def block(
        self,
        modules: Iterable[nn.Module],
        steps: Iterable[Step],
        shortcut: Shortcut | None = None,
    ) -> Block:
        """A block of these modules, in the order of the data, drawn as ``steps``."""
        modules = list(modules)
        seen = [module for module in modules if module in self._shapes]
        return Block(
            steps=tuple(steps),
            shape=self._shapes[seen[-1]],
            parameters=sum(p.numel() for m in modules for p in m.parameters() if p.requires_grad),
            multiply_adds=sum(self._operations[module] for module in modules) // 2,
            shortcut=shortcut,
        )

    def straight(self, *modules: nn.Module, name: str, behind: Iterable[Step] = ()) -> Stage:
        """A stage of one block without a shortcut; ``behind`` its layers come further steps."""
        steps = [step for module in modules for step in steps_of(module)]
        return Stage(name, (self.block(modules, [*steps, *behind]),))


def _residual(body: ResNet, costs: _Costs) -> list[Stage]:
    stages = [
        costs.straight(body.input_norm, name="input"),
        costs.straight(body.whitening, name="whitening"),
        costs.straight(body.stem, name="stem"),
    ]
    for name, stage in body.stages.named_children():
        stages.append(Stage(name, grouped(_residual_block(b, costs) for b in stage.children())))
    steps = [*steps_of(body.tail), Step("mean", "map", "pool"), *steps_of(body.dropout)]
    last = (body.tail, body.dropout, body.head)
    return [*stages, Stage("head", (costs.block(last, [*steps, *steps_of(body.head)]),))]


def _residual_block(block: nn.Module, costs: _Costs) -> Block:
    assert isinstance(block, ResidualBlock)
    before, branch = steps_of(block.before), steps_of(block.branch)
    if isinstance(block, NormalizerFreeBlock):
        before = (Step("÷ β", "", "other"), *before)
        branch = (*branch, Step("× α g", "", "other"))
    steps = (*before, *branch, add(), *steps_of(block.after))
    start = len(before) if block.projects else 0
    shortcut = Shortcut(start, len(before) + len(branch), steps_of(block.shortcut))
    return costs.block([block], steps, shortcut)


def _speed(body: AirbenchNet, costs: _Costs) -> list[Stage]:
    stages = [costs.straight(body.whitening, name="whitening")]
    for number, group in enumerate(body.groups, 1):
        assert isinstance(group, ConvGroup)
        stages.append(Stage(f"group{number}", (_group(group, costs),)))
    scale = Step("×", f"{body.logit_scale:.3g}", "other")
    steps = (Step("max", "map", "pool"), *steps_of(body.head), scale)
    return [*stages, Stage("head", (costs.block([body.head], steps),))]


def _group(group: ConvGroup, costs: _Costs) -> Block:
    """A group's forward pass, step by step: see models/airbench_modules.py."""
    whole = costs.block([group], ())
    steps: list[Step] = []
    shortcut, first, last = None, 0, len(group.convs) - 1
    for place, layers in enumerate(zip(group.convs, group.norms, group.acts, strict=True)):
        conv, norm, act = map(steps_of, layers)
        pool = (Step("pool", "max 2×2", "pool"),) if place == 0 and group.pooled else ()
        steps += [*conv, *pool, *norm]
        if group.shortcut and place == last:
            shortcut = Shortcut(first, len(steps), ())
            steps.append(add())
        steps += act
        if place == 0:
            first = len(steps)
    return replace(whole, steps=tuple(steps), shortcut=shortcut)


def _plain(body: ConvNet, costs: _Costs) -> list[Stage]:
    blocks = [costs.straight(block, name=name) for name, block in body.blocks.named_children()]
    return [*blocks, costs.straight(body.hidden, body.head, name="head")]


def grouped(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Equal blocks that follow each other as one."""
    groups: list[tuple[Block, int]] = []
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
