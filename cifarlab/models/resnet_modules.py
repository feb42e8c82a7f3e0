"""Residual networks for small images (He et al. 2016a, arXiv:1512.03385; 2016b, arXiv:1603.05027).

Departures from the ImageNet networks: the stem is a 3x3 convolution of stride 1 without pooling,
since 32 pixels leave nothing to throw away; every shortcut whose shape changes is a convolution; a
normalisation of the image and a whitening layer may come first. Wide residual networks (Zagoruyko &
Komodakis 2016, arXiv:1605.07146) and normalizer-free ones (Brock et al. 2021, arXiv:2101.08692)
are settings of the same class.
"""

import math
from collections import OrderedDict
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cifarlab.models.builder import Builder
from cifarlab.models.configs import Shape
from cifarlab.models.initialization import initialize_
from cifarlab.models.layers import Head
from cifarlab.models.outline import ADDITION, Block, LayerStep, Shortcut, layer_steps, outline_block
from cifarlab.models.staged import Parts, StagedNetwork
from cifarlab.models.whitening import build_whitening

if TYPE_CHECKING:
    from cifarlab.models.resnet import ResNetConfig

_BOTTLENECK = 4  # output channels of a bottleneck over those of its 3x3 convolution


def _builder(model: "ResNetConfig", shape: Shape) -> Builder:
    scaled = model.weight_standardization
    return Builder(model, shape, bias=model.conv_bias, standardized=scaled)


class ResidualBlock(nn.Module):
    """x + f(x), where f's layers and those after the addition are in the recipe's order.

    Of a plain network f(x) alone.
    ``shape`` is the (H, W, C) of the input; ``width`` the channels of the 3x3 convolutions. Where
    the shape changes, x goes through a convolution, with a normalisation if the branch's last
    convolution has one before the addition. The steps before the first convolution then come
    before both paths, as x may be a sum that was never normalised.

    In a normalizer-free network x + alpha * gain * f(x / beta), beta**2 the ``variance`` of x at
    the start (Brock et al. 2021, section 3). Where the shape changes, the shortcut's input is
    x / beta too, so that the output has the variance 1 + alpha^2, else beta^2 + alpha^2, both for
    gain 1. ``gain`` is trained and starts at 0 (SkipInit: De & Smith 2020, arXiv:2002.10444), as in
    the authors' code: at first a block is its shortcut.
    """

    def __init__(
        self,
        model: "ResNetConfig",
        shape: Shape,
        width: int,
        stride: int,
        dropout: float = 0.0,
        variance: float = 1.0,
    ) -> None:
        super().__init__()
        before, branch, after = model.order_parts
        convs = [(width, 3, stride), (width, 3, 1)]
        if model.block == "bottleneck":
            convs = [(width, 1, 1), (width, 3, stride), (width * _BOTTLENECK, 1, 1)]
        layers = _builder(model, shape)
        self.before = nn.Sequential(layers.build(before, dropout=dropout))
        self.branch = nn.Sequential(layers.build(branch, convs, dropout))
        self.adds = model.shortcut
        self.projects = self.adds and (stride != 1 or shape[2] != layers.channels)
        self.shortcut: nn.Module = nn.Identity()
        if self.projects:
            has_norm = "norm" in takewhile(lambda step: step != "conv", reversed(branch))
            sizes = [(layers.channels, model.shortcut_kernel_size, stride)]
            steps = ["conv", "norm"] if has_norm else ["conv"]
            self.shortcut = nn.Sequential(_builder(model, shape).build(steps, sizes))
            for layer in self.shortcut:
                if isinstance(layer, nn.Conv2d):
                    vars(layer)["parameter_roles"] = {"weight": "shortcuts"}
        layers.overwritable = True  # the sum, which nothing else reads
        self.after = nn.Sequential(layers.build(after, dropout=dropout))
        self.shape = layers.shape
        self.normalizer_free = model.normalizer_free
        self.alpha, self.beta = model.alpha, math.sqrt(variance)
        self.variance = (1.0 if self.projects else variance) + self.alpha**2
        if self.normalizer_free:
            self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C_in, H, W) to (N, C, H / stride, W / stride)."""
        start = self.before(x / self.beta if self.normalizer_free else x)
        y = self.branch(start)
        if self.normalizer_free:
            y = self.alpha * self.gain * y
        if self.adds:
            y = y + self.shortcut(start if self.projects else x)
        out: Tensor = self.after(y)
        return out

    def outline(self) -> Block:
        """Return its layers with their factors, and its shortcut."""
        division, product = [LayerStep("÷ β", "", "other")], [LayerStep("× α g", "", "other")]
        before = layer_steps(*division * self.normalizer_free, self.before)
        branch = layer_steps(self.branch, *product * self.normalizer_free)
        if not self.adds:
            return Block((self,), before + branch + layer_steps(self.after))
        start = len(before) if self.projects else 0
        shortcut = Shortcut(start, len(before + branch), layer_steps(self.shortcut))
        return Block((self,), before + branch + layer_steps(ADDITION, self.after), shortcut)


class ResNet(StagedNetwork):
    """Layers (norm), (whitening, act), stem, stages of blocks, (tail), mean, (dropout), head."""

    def __init__(self, model: "ResNetConfig", image_shape: Shape, classes: int) -> None:
        super().__init__()
        height, width, channels = image_shape
        self.input_norm: nn.Module = nn.Identity()
        if model.input_norm:
            self.input_norm = model.norm.build(channels, (height, width))
        self.whitening, shape = build_whitening(model.whitening, image_shape, model.activation)
        before, branch, after = model.order_parts
        layers, steps = _builder(model, shape), ["conv"]
        if not before:
            steps += [step for step in dict.fromkeys(branch + after) if step in ("norm", "act")]
        stem = (model.stem_width, model.stem_kernel_size, 1)
        self.stem = nn.Sequential(layers.build(steps, [stem]))
        self.stages, shape = _build_stages(model, layers.shape)
        self.tail = nn.Sequential(_builder(model, shape).build(before))
        self.dropout = nn.Dropout(model.head_dropout) if model.head_dropout else nn.Identity()
        self.head = Head(shape[2], classes)
        initialize_(self, "fan_out")
        initialize_(self, model.init)
        initialize_(self.head, model.head_init or "default")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W)."""
        x = self.stem(self.whitening(self.input_norm(x)))
        features = self.tail(self.stages(x)).mean((2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def parts(self) -> Parts:
        """Return the layers before the stages, the stages, the tail and the head."""
        entrance = {"input": self.input_norm, "whitening": self.whitening, "stem": self.stem}
        mean = LayerStep("mean", "map", "pool")
        head = outline_block(self.tail, mean, self.dropout, self.head)
        return Parts(entrance, dict(self.stages.named_children()), self.tail, head)


def _build_stages(model: "ResNetConfig", shape: Shape) -> tuple[nn.Sequential, Shape]:
    """Return the stages, and the (H, W, C) of their output."""
    stages = OrderedDict[str, nn.Module]()
    settings = zip(model.depths, model.channels, model.strides, model.dropouts, strict=True)
    variance = 1.0
    for depth, channels, stride, dropout in settings:
        stage: list[ResidualBlock] = []
        for index in range(depth):
            strides = 1 if index else stride
            block = ResidualBlock(model, shape, channels, strides, dropout, variance)
            stage.append(block)
            shape, variance = block.shape, block.variance
        stages[f"stage{len(stages) + 1}"] = nn.Sequential(*stage)
    return nn.Sequential(stages), shape
