"""The speed-run network of KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498).

Section 3 there; the shortcut is airbench96's. Departures, so that images of any size pass: the
last pool is the maximum over the whole map, which at 32 pixels it is there too, and a pool is
left out where the map has a single row or column.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from cifarlab.models.initialization import has_values, initialize_
from cifarlab.models.layers import Head, activation
from cifarlab.models.outline import (
    Block,
    LayerStep,
    Outline,
    Shortcut,
    addition_step,
    layer_steps,
    module_block,
)
from cifarlab.models.packed_conv import PackedConv2d
from cifarlab.models.whitening import whitening_layers

if TYPE_CHECKING:
    from cifarlab.models.airbench import AirbenchConfig


class ConvGroup(nn.Module):
    """conv, max-pool 2, BN, act, then ``depth`` - 1 times (conv, BN, act).

    With a shortcut the first activation's output is added before the last activation.
    """

    def __init__(
        self, model: "AirbenchConfig", shape: tuple[int, int, int], channels: int, depth: int
    ) -> None:
        """``shape`` is the (H, W, C) of what comes in."""
        super().__init__()
        height, width, channels_in = shape
        self.pooled = min(height, width) >= 2
        size = (height // 2, width // 2) if self.pooled else (height, width)
        self.shape = (*size, channels)
        widths = [channels_in] + [channels] * (depth - 1)
        bias = not model.norm.normalizes
        self.convs = nn.ModuleList(
            PackedConv2d(width, channels, 3, padding=1, bias=bias) for width in widths
        )
        self.norms = nn.ModuleList(model.norm.build(channels, size) for _ in widths)
        self.acts = nn.ModuleList(activation(model.activation) for _ in widths)
        self.shortcut = model.shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H // 2, W // 2), or (N, C, H, W) where a side is 1."""
        y = self.convs[0](x)
        if min(y.shape[2:]) >= 2:
            y = functional.max_pool2d(y, 2)
        y = shortcut_output = self.acts[0](self.norms[0](y))
        last = len(self.convs) - 1
        for index in range(1, len(self.convs)):
            y = self.norms[index](self.convs[index](y))
            if self.shortcut and index == last:
                y = y + shortcut_output
            y = self.acts[index](y)
        return y

    def outline(self) -> Block:
        """Return the forward pass, step by step."""
        steps: list[LayerStep] = []
        shortcut, first, last = None, 0, len(self.convs) - 1
        for index, layers in enumerate(zip(self.convs, self.norms, self.acts, strict=True)):
            conv, norm, act = map(layer_steps, layers)
            pool = (LayerStep("pool", "max 2×2", "pool"),) if index == 0 and self.pooled else ()
            steps += [*conv, *pool, *norm]
            if self.shortcut and index == last:
                shortcut = Shortcut(first, len(steps), ())
                steps.append(addition_step())
            steps += act
            if index == 0:
                first = len(steps)
        return Block((self,), tuple(steps), shortcut)


class AirbenchNet(nn.Module):
    """(Whitening, act), groups, maximum over the map, linear without bias, factor.

    PyTorch's initialisation, but the head's weights are scaled to unit standard deviation.
    1,971,352 trainable parameters by default at (32, 32, 3) and K = 10.
    """

    memory_format = torch.channels_last

    def __init__(
        self, model: "AirbenchConfig", image_shape: tuple[int, int, int], classes: int
    ) -> None:
        super().__init__()
        height, width, channels = image_shape
        self.whitening, channels = whitening_layers(model.whitening, channels, model.activation)
        border = max(model.whitening.kernel_size - 1, 0)
        shape = (height - border, width - border, channels)
        groups = []
        for channels, depth in zip(model.channels, model.group_depths, strict=True):
            groups.append(ConvGroup(model, shape, channels, depth))
            shape = groups[-1].shape
        self.groups = nn.Sequential(*groups)
        initialize_(self.groups, model.init)
        self.head = Head(channels, classes, bias=False)
        if has_values(self.head):
            self.head.weight.data /= self.head.weight.data.std()
        self.logit_scale = 1 / channels if model.logit_scale is None else model.logit_scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, K)."""
        features = self.groups(self.whitening(x)).amax((2, 3))
        return self.head(features) * self.logit_scale

    def stage_modules(self) -> list[list[nn.Module]]:
        """Return the groups; the whitening layer belongs to the first."""
        first, *groups = self.groups
        return [[self.whitening, first], *([group] for group in groups)]

    def map_layers(self) -> dict[str, nn.Module]:
        """Return ``whitening`` where there is one, ``group1``, ..."""
        groups = {f"group{number}": group for number, group in enumerate(self.groups, 1)}
        whitened = not isinstance(self.whitening, nn.Identity)
        return {"whitening": self.whitening, **groups} if whitened else groups

    def outline(self) -> Outline:
        """Return the whitening layer, the groups, the head."""
        groups = {f"group{n}": [module_block(group)] for n, group in enumerate(self.groups, 1)}
        scale = LayerStep("×", f"{self.logit_scale:.3g}", "other")
        steps = (LayerStep("max", "map", "pool"), *layer_steps(self.head), scale)
        head = Block((self.head,), steps)
        return {"whitening": [module_block(self.whitening)], **groups, "head": [head]}
