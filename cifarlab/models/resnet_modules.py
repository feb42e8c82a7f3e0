"""Residual networks for small images (He et al. 2016a, arXiv:1512.03385; 2016b, arXiv:1603.05027).

Departures from the ImageNet networks: the stem is a 3x3 convolution of stride 1 without pooling,
since 32 pixels leave nothing to throw away; every shortcut whose shape changes is a convolution; a
normalisation of the image and a whitening layer may come first. Wide residual networks (Zagoruyko &
Komodakis 2016, arXiv:1605.07146) and normalizer-free ones (Brock et al. 2021, arXiv:2101.08692)
are settings of the same class.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from cifarlab.models.builder import Builder
from cifarlab.models.configs import BOTTLENECK, ResNetConfig
from cifarlab.models.initialization import initialize_
from cifarlab.models.layers import Head, norm_layer
from cifarlab.models.whitening import whitening_layers


class ResidualBlock(nn.Module):
    """x + f(x), where f's layers and what follows the addition are in the recipe's order.

    ``shape`` is the (H, W, C) of what comes in; ``width`` the channels of the 3x3 convolutions.
    Where the shape changes, x goes through a convolution, with a normalisation if the branch's
    last convolution has one before the addition. What the order has before its first convolution
    is then shared by both: x may be a sum that was never normalised.
    """

    def __init__(
        self,
        model: ResNetConfig,
        shape: tuple[int, int, int],
        width: int,
        stride: int,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        order_parts = model.order_parts
        layers = Builder(model, shape)
        for step in order_parts.before:
            layers.step(step, dropout_rate)
        self.before = layers.pop_layers()
        convolutions = [(width, 3, stride), (width, 3, 1)]
        if model.block == "bottleneck":
            convolutions = [(width, 1, 1), (width, 3, stride), (width * BOTTLENECK, 1, 1)]
        remaining = iter(convolutions)
        for step in order_parts.branch:
            if step == "conv":
                layers.conv(*next(remaining))
            else:
                layers.step(step, dropout_rate)
        self.branch = layers.pop_layers()
        self.projects = stride != 1 or shape[2] != layers.channels
        self.shortcut: nn.Module = nn.Identity()
        if self.projects:
            shortcut = Builder(model, shape)
            shortcut.conv(layers.channels, model.shortcut_kernel_size, stride)
            if "norm" in _behind_last_convolution(order_parts.branch):
                shortcut.norm()
            self.shortcut = shortcut.pop_layers()
        layers.overwritable = True  # the sum
        for step in order_parts.after:
            layers.step(step, dropout_rate)
        self.after = layers.pop_layers()
        self.shape = layers.shape

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        start = self.before(x)
        y = self.branch(start) + self.shortcut(start if self.projects else x)
        out: Tensor = self.after(y)
        return out


class NormalizerFreeBlock(ResidualBlock):
    """x + alpha * gain * f(x / beta), beta the standard deviation of x at the start (Brock et al. 2021).

    Section 3 there. Where the shape changes, the shortcut reads x / beta too, so that what leaves
    has the variance 1 + alpha^2, else beta^2 + alpha^2. ``gain`` is trained and starts at 0
    (SkipInit: De & Smith 2020, arXiv:2002.10444), as in the authors' code: at first only
    shortcuts pass. These variances are of gain 1.
    """

    def __init__(
        self,
        model: ResNetConfig,
        shape: tuple[int, int, int],
        width: int,
        stride: int,
        dropout_rate: float,
        variance: float,
    ) -> None:
        super().__init__(model, shape, width, stride, dropout_rate)
        self.alpha, self.beta = model.alpha, math.sqrt(variance)
        self.gain = nn.Parameter(torch.zeros(()))
        self.variance = (1.0 if self.projects else variance) + self.alpha**2

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        start = self.before(x / self.beta)
        shortcut = self.shortcut(start) if self.projects else x
        out: Tensor = shortcut + self.alpha * self.gain * self.branch(start)
        return out


class ResNet(nn.Module):
    """(Norm), (whitening, act), stem, stages of blocks, (tail), mean, (dropout), head."""

    def __init__(
        self, model: ResNetConfig, image_shape: tuple[int, int, int], classes: int
    ) -> None:
        """Raises RecipeError where a normalisation does not fit a number of channels."""
        super().__init__()
        height, width, channels = image_shape
        self.input_norm: nn.Module = nn.Identity()
        if model.input_norm:
            self.input_norm = norm_layer(model.norm, channels, (height, width))
        self.whitening, channels = whitening_layers(model.whitening, channels, model.activation)
        border = max(model.whitening.kernel_size - 1, 0)
        stem = Builder(model, (height - border, width - border, channels))
        stem.conv(model.stem_width, 3)
        if not model.order_parts.before:
            for step in dict.fromkeys(model.order_parts.branch + model.order_parts.after):
                if step in ("norm", "act"):
                    stem.step(step)
        self.stem = stem.pop_layers()
        self.stages, shape = _build_stages(model, stem.shape)
        tail = Builder(model, shape)
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


def _build_stages(
    model: ResNetConfig, shape: tuple[int, int, int]
) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """The stages, and the (H, W, C) of what leaves them."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stage_settings = zip(model.depths, model.channels, model.strides, model.dropouts, strict=True)
    variance = 1.0
    for number, (blocks, channels, stride, dropout_rate) in enumerate(stage_settings, 1):
        stage: list[ResidualBlock] = []
        for index in range(blocks):
            arguments = (model, shape, channels, 1 if index else stride, dropout_rate)
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
