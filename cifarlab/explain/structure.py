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

from cifarlab.explain.steps import LayerStep, addition_step, layer_steps
from cifarlab.models.airbench_modules import AirbenchNet, ConvGroup
from cifarlab.models.build import build_body
from cifarlab.models.cnn_modules import ConvNet
from cifarlab.models.configs import Model
from cifarlab.models.resnet_modules import NormalizerFreeBlock, ResidualBlock, ResNet


class Shortcut(NamedTuple):
    """A way around layers: from before step ``start`` to step ``end``, which adds; its layers."""

    start: int
    end: int
    steps: tuple[LayerStep, ...]


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
    parts: dict[type, Any] = {
        ConvNet: _cnn_stages,
        ResNet: _resnet_stages,
        AirbenchNet: _airbench_stages,
    }
    stages = parts[type(body)](body, costs)
    return Architecture(image_shape, tuple(s for s in stages if any(b.steps for b in s.blocks)))


class _Costs:
    """What each module of a network put out for one image, and how many multiply-adds it took."""

    def __init__(self, body: nn.Module, image_shape: tuple[int, int, int]) -> None:
        height, width, channels = image_shape
        self._shapes: dict[nn.Module, tuple[int, ...]] = {}
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

    def _record_shape(self, module: nn.Module, _inputs: Any, out: torch.Tensor) -> None:
        self._shapes[module] = tuple(out.shape[1:])

    def block(
        self,
        modules: Iterable[nn.Module],
        steps: Iterable[LayerStep],
        shortcut: Shortcut | None = None,
    ) -> BlockSummary:
        """A block of these modules, in the order of the data, drawn as ``steps``."""
        modules = list(modules)
        executed = [module for module in modules if module in self._shapes]
        return BlockSummary(
            steps=tuple(steps),
            shape=self._shapes[executed[-1]],
            parameters=sum(p.numel() for m in modules for p in m.parameters() if p.requires_grad),
            multiply_adds=sum(self._operations[module] for module in modules) // 2,
            shortcut=shortcut,
        )

    def stage(self, *modules: nn.Module, name: str, trailing: Iterable[LayerStep] = ()) -> Stage:
        """A stage of one block without a shortcut; ``trailing`` steps come behind its layers."""
        steps = [step for module in modules for step in layer_steps(module)]
        return Stage(name, (self.block(modules, [*steps, *trailing]),))


def _resnet_stages(body: ResNet, costs: _Costs) -> list[Stage]:
    stages = [
        costs.stage(body.input_norm, name="input"),
        costs.stage(body.whitening, name="whitening"),
        costs.stage(body.stem, name="stem"),
    ]
    for name, stage in body.stages.named_children():
        stages.append(
            Stage(name, group_equal(_summarize_residual_block(b, costs) for b in stage.children()))
        )
    steps = [*layer_steps(body.tail), LayerStep("mean", "map", "pool"), *layer_steps(body.dropout)]
    last = (body.tail, body.dropout, body.head)
    return [*stages, Stage("head", (costs.block(last, [*steps, *layer_steps(body.head)]),))]


def _summarize_residual_block(block: nn.Module, costs: _Costs) -> BlockSummary:
    assert isinstance(block, ResidualBlock)
    before, branch = layer_steps(block.before), layer_steps(block.branch)
    if isinstance(block, NormalizerFreeBlock):
        before = (LayerStep("÷ β", "", "other"), *before)
        branch = (*branch, LayerStep("× α g", "", "other"))
    steps = (*before, *branch, addition_step(), *layer_steps(block.after))
    start = len(before) if block.projects else 0
    shortcut = Shortcut(start, len(before) + len(branch), layer_steps(block.shortcut))
    return costs.block([block], steps, shortcut)


def _airbench_stages(body: AirbenchNet, costs: _Costs) -> list[Stage]:
    stages = [costs.stage(body.whitening, name="whitening")]
    for number, group in enumerate(body.groups, 1):
        assert isinstance(group, ConvGroup)
        stages.append(Stage(f"group{number}", (_summarize_conv_group(group, costs),)))
    scale = LayerStep("×", f"{body.logit_scale:.3g}", "other")
    steps = (LayerStep("max", "map", "pool"), *layer_steps(body.head), scale)
    return [*stages, Stage("head", (costs.block([body.head], steps),))]


def _summarize_conv_group(group: ConvGroup, costs: _Costs) -> BlockSummary:
    """A group's forward pass, step by step: see models/airbench_modules.py."""
    total = costs.block([group], ())
    steps: list[LayerStep] = []
    shortcut, first, last = None, 0, len(group.convs) - 1
    for index, layers in enumerate(zip(group.convs, group.norms, group.acts, strict=True)):
        conv, norm, act = map(layer_steps, layers)
        pool = (LayerStep("pool", "max 2×2", "pool"),) if index == 0 and group.pooled else ()
        steps += [*conv, *pool, *norm]
        if group.shortcut and index == last:
            shortcut = Shortcut(first, len(steps), ())
            steps.append(addition_step())
        steps += act
        if index == 0:
            first = len(steps)
    return replace(total, steps=tuple(steps), shortcut=shortcut)


def _cnn_stages(body: ConvNet, costs: _Costs) -> list[Stage]:
    blocks = [costs.stage(block, name=name) for name, block in body.blocks.named_children()]
    return [*blocks, costs.stage(body.hidden, body.head, name="head")]


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
