"""Residual networks for small images (He et al. 2016a, arXiv:1512.03385; 2016b, arXiv:1603.05027).

Departures from the ImageNet networks: the stem is a 3x3 convolution of stride 1 without pooling,
since 32 pixels leave nothing to throw away; every shortcut whose shape changes is a convolution; a
normalisation of the image and a whitening layer may come first. Wide residual networks (Zagoruyko &
Komodakis 2016, arXiv:1605.07146) and normalizer-free ones (Brock et al. 2021, arXiv:2101.08692)
are settings of the same class.
"""

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cifarlab.models.builder import Builder
from cifarlab.models.initialization import initialize_
from cifarlab.models.layers import Head
from cifarlab.models.outline import (
    Block,
    LayerStep,
    Outline,
    Shortcut,
    addition_step,
    layer_steps,
    module_block,
)
from cifarlab.models.whitening import whitening_layers

if TYPE_CHECKING:
    from cifarlab.models.resnet import ResNetConfig

_BOTTLENECK = 4  # a bottleneck puts out that many times the channels of its 3x3 convolution


def _builder(model: "ResNetConfig", shape: tuple[int, int, int]) -> Builder:
    return Builder(model, shape, model.weight_standardization, model.normalizer_free)


class ResidualBlock(nn.Module):
    """x + f(x), where f's layers and what follows the addition are in the recipe's order.

    ``shape`` is the (H, W, C) of what comes in; ``width`` the channels of the 3x3 convolutions.
    Where the shape changes, x goes through a convolution, with a normalisation if the branch's
    last convolution has one before the addition. What the order has before its first convolution
    is then shared by both: x may be a sum that was never normalised.
    """

    def __init__(
        self,
        model: "ResNetConfig",
        shape: tuple[int, int, int],
        width: int,
        stride: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        order_parts = model.order_parts
        layers = _builder(model, shape)
        for step in order_parts.before:
            layers.step(step, dropout)
        self.before = layers.pop_layers()
        convolutions = [(width, 3, stride), (width, 3, 1)]
        if model.block == "bottleneck":
            convolutions = [(width, 1, 1), (width, 3, stride), (width * _BOTTLENECK, 1, 1)]
        remaining = iter(convolutions)
        for step in order_parts.branch:
            if step == "conv":
                layers.conv(*next(remaining))
            else:
                layers.step(step, dropout)
        self.branch = layers.pop_layers()
        self.projects = stride != 1 or shape[2] != layers.channels
        self.shortcut: nn.Module = nn.Identity()
        if self.projects:
            shortcut = _builder(model, shape)
            shortcut.conv(layers.channels, model.shortcut_kernel_size, stride)
            if "norm" in _behind_last_convolution(order_parts.branch):
                shortcut.norm()
            self.shortcut = shortcut.pop_layers()
        layers.overwritable = True  # the sum
        for step in order_parts.after:
            layers.step(step, dropout)
        self.after = layers.pop_layers()
        self.shape = layers.shape

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        start = self.before(x)
        y = self.branch(start) + self.shortcut(start if self.projects else x)
        out: Tensor = self.after(y)
        return out

    def outline(self) -> Block:
        """Return its layers and its shortcut."""
        return self._outline(layer_steps(self.before), layer_steps(self.branch))

    def _outline(self, before: tuple[LayerStep, ...], branch: tuple[LayerStep, ...]) -> Block:
        start, end = len(before) if self.projects else 0, len(before) + len(branch)
        steps = (*before, *branch, addition_step(), *layer_steps(self.after))
        return Block((self,), steps, Shortcut(start, end, layer_steps(self.shortcut)))


class NormalizerFreeBlock(ResidualBlock):
    """x + alpha * gain * f(x / beta), beta the standard deviation of x at the start.

    Brock et al. 2021, section 3. Where the shape changes, the shortcut reads x / beta too, so that
    what leaves has the variance 1 + alpha^2, else beta^2 + alpha^2. ``gain`` is trained and starts
    at 0 (SkipInit: De & Smith 2020, arXiv:2002.10444), as in the authors' code: at first only
    shortcuts pass. These variances are of gain 1.
    """

    def __init__(
        self,
        model: "ResNetConfig",
        shape: tuple[int, int, int],
        width: int,
        stride: int,
        dropout: float,
        variance: float,
    ) -> None:
        super().__init__(model, shape, width, stride, dropout)
        self.alpha, self.beta = model.alpha, math.sqrt(variance)
        self.gain = nn.Parameter(torch.zeros(()))
        self.variance = (1.0 if self.projects else variance) + self.alpha**2

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        start = self.before(x / self.beta)
        shortcut = self.shortcut(start) if self.projects else x
        out: Tensor = shortcut + self.alpha * self.gain * self.branch(start)
        return out

    def outline(self) -> Block:
        """Return its layers with their factors, and its shortcut."""
        before = (LayerStep("÷ β", "", "other"), *layer_steps(self.before))
        return self._outline(before, (*layer_steps(self.branch), LayerStep("× α g", "", "other")))


class ResNet(nn.Module):
    """(Norm), (whitening, act), stem, stages of blocks, (tail), mean, (dropout), head."""

    memory_format = torch.channels_last

    def __init__(
        self, model: "ResNetConfig", image_shape: tuple[int, int, int], classes: int
    ) -> None:
        """Raises RecipeError where a normalisation does not fit a number of channels."""
        super().__init__()
        height, width, channels = image_shape
        self.input_norm: nn.Module = nn.Identity()
        if model.input_norm:
            self.input_norm = model.norm.build(channels, (height, width))
        self.whitening, channels = whitening_layers(model.whitening, channels, model.activation)
        border = max(model.whitening.kernel_size - 1, 0)
        stem = _builder(model, (height - border, width - border, channels))
        stem.conv(model.stem_width, 3)
        if not model.order_parts.before:
            for step in dict.fromkeys(model.order_parts.branch + model.order_parts.after):
                if step in ("norm", "act"):
                    stem.step(step)
        self.stem = stem.pop_layers()
        self.stages, shape = _build_stages(model, stem.shape)
        tail = _builder(model, shape)
        for step in model.order_parts.before:
            tail.step(step)
        self.tail = tail.pop_layers()
        self.dropout = nn.Dropout(model.head_dropout) if model.head_dropout else nn.Identity()
        self.head = Head(shape[2], classes)
        initialize_(self, "fan_out")
        initialize_(self, model.init)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, K)."""
        x = self.stem(self.whitening(self.input_norm(x)))
        features = self.tail(self.stages(x)).mean((2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def stage_modules(self) -> list[list[nn.Module]]:
        """Return its stages; what comes before belongs to the first, the tail to the last."""
        stages = [[stage] for stage in self.stages]
        stages[0][:0] = [self.input_norm, self.whitening, self.stem]
        stages[-1].append(self.tail)
        return stages

    def map_layers(self) -> dict[str, nn.Module]:
        """Return ``whitening`` where there is one, ``stem``, ``stage1``, ...; the tail is last."""
        layers = {"whitening": self.whitening, "stem": self.stem}
        if isinstance(self.whitening, nn.Identity):
            del layers["whitening"]
        layers |= dict(self.stages.named_children())
        if len(self.tail):
            layers[next(reversed(layers))] = self.tail
        return layers

    def outline(self) -> Outline:
        """Return what comes before the stages, their blocks, and the head."""
        entrance = {"input": self.input_norm, "whitening": self.whitening, "stem": self.stem}
        stages = self.stages.named_children()
        mean = LayerStep("mean", "map", "pool")
        last = self.dropout, self.head
        head = (*layer_steps(self.tail), mean, *(s for m in last for s in layer_steps(m)))
        return {
            **{name: [module_block(module)] for name, module in entrance.items()},
            **{name: [module_block(block) for block in stage.children()] for name, stage in stages},
            "head": [Block((self.tail, *last), head)],
        }


def _build_stages(
    model: "ResNetConfig", shape: tuple[int, int, int]
) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """The stages, and the (H, W, C) of what leaves them."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stage_settings = zip(model.depths, model.channels, model.strides, model.dropouts, strict=True)
    variance = 1.0
    for number, (blocks, channels, stride, dropout) in enumerate(stage_settings, 1):
        stage: list[ResidualBlock] = []
        for index in range(blocks):
            arguments = (model, shape, channels, 1 if index else stride, dropout)
            if model.normalizer_free:
                stage.append(block := NormalizerFreeBlock(*arguments, variance))
                variance = block.variance
            else:
                stage.append(ResidualBlock(*arguments))
            shape = stage[-1].shape
        stages[f"stage{number}"] = nn.Sequential(*stage)
    return nn.Sequential(stages), shape


def _behind_last_convolution(branch: tuple[str, ...]) -> tuple[str, ...]:
    last = max(index for index, step in enumerate(branch) if step == "conv")
    return branch[last:]
