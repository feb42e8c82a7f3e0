"""The speed-run network of KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498).

Section 3 there; the shortcut is airbench96's. Departures, so that images of any size pass: the
last pool is the maximum over the whole map, which at 32 pixels it is there too, and a pool is
left out where the map has a single row or column.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from cifarlab.models.configs import Shape
from cifarlab.models.initialization import has_values, initialize_
from cifarlab.models.layers import Head, build_activation
from cifarlab.models.outline import ADDITION, Block, LayerStep, Shortcut, layer_steps, outline_block
from cifarlab.models.packed_conv import PackedConv2d
from cifarlab.models.staged import Parts, StagedNetwork
from cifarlab.models.whitening import build_whitening

if TYPE_CHECKING:
    from cifarlab.models.airbench import AirbenchConfig


class ConvGroup(nn.Module):
    """Layers conv, max-pool 2, norm, act, then ``depth`` - 1 times (conv, norm, act).

    With a shortcut the first activation's output is added before the last activation. ``shape`` is
    the (H, W, C) of what comes in.
    """

    def __init__(self, model: "AirbenchConfig", shape: Shape, channels: int, depth: int) -> None:
        super().__init__()
        height, width, channels_in = shape
        self.has_pool = min(height, width) >= 2
        size = (height // 2, width // 2) if self.has_pool else (height, width)
        self.shape = (*size, channels)
        widths = [channels_in] + [channels] * (depth - 1)
        bias = not model.norm.normalizes
        self.convs = nn.ModuleList(
            PackedConv2d(width, channels, 3, padding=1, bias=bias) for width in widths
        )
        self.norms = nn.ModuleList(model.norm.build(channels, size) for _ in widths)
        self.acts = nn.ModuleList(build_activation(model.activation) for _ in widths)
        self.shortcut = model.shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C, H // 2, W // 2), or (N, C, H, W) where a side is 1."""
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
        layers = [m for layer in zip(self.convs, self.norms, self.acts, strict=True) for m in layer]
        pool = [LayerStep("pool", "max 2×2", "pool")] * self.has_pool
        first = layer_steps(layers[0], *pool, *layers[1:3])
        if not self.shortcut:
            return Block((self,), first + layer_steps(*layers[3:]))
        steps = first + layer_steps(*layers[3:-1])
        shortcut = Shortcut(len(first), len(steps), ())
        return Block((self,), steps + layer_steps(ADDITION, layers[-1]), shortcut)


class AirbenchNet(StagedNetwork):
    """Layers (whitening, act), groups, maximum over the map, linear without bias, factor.

    PyTorch's initialisation, but the head's weights are scaled to unit standard deviation.
    1,971,352 trainable parameters by default at (32, 32, 3) and K = 10.
    """

    def __init__(self, model: "AirbenchConfig", image_shape: Shape, classes: int) -> None:
        super().__init__()
        self.whitening, shape = build_whitening(model.whitening, image_shape, model.activation)
        groups = []
        for channels, depth in zip(model.channels, model.group_depths, strict=True):
            groups.append(ConvGroup(model, shape, channels, depth))
            shape = groups[-1].shape
        self.groups = nn.Sequential(*groups)
        initialize_(self.groups, model.init)
        self.head = Head(shape[2], classes, bias=False)
        if has_values(self.head):
            self.head.weight.data /= self.head.weight.data.std()
        self.logit_scale = 1 / shape[2] if model.logit_scale is None else model.logit_scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W)."""
        features = self.groups(self.whitening(x)).amax((2, 3))
        return self.head(features) * self.logit_scale

    def parts(self) -> Parts:
        """Return the whitening layer, the groups, the head."""
        groups = {f"group{number}": group for number, group in enumerate(self.groups, 1)}
        scale = LayerStep("×", f"{self.logit_scale:.3g}", "other")
        head = outline_block(LayerStep("max", "map", "pool"), self.head, scale)
        return Parts({"whitening": self.whitening}, groups, nn.Sequential(), head)
