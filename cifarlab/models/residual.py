"""Residual networks of basic blocks for small images (He et al. 2016, arXiv:1512.03385).

Departures from the paper's ImageNet network: the stem is a 3x3 convolution of stride 1 without
pooling, since 32 pixels leave nothing to throw away; every shortcut whose shape changes is a
convolution with batch normalisation; a whitening layer and an activation may come first.
"""

from collections import OrderedDict

from torch import Tensor, nn

from cifarlab.models.layers import Head, activation, batch_norm, he_normal_
from cifarlab.models.whitening import whitening_layers
from cifarlab.recipe.networks import Residual


class BasicBlock(nn.Module):
    """conv, BN, act, (dropout), conv, BN, add, act."""

    def __init__(self, model: Residual, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = batch_norm(model.norm, channels)
        self.act1 = activation(model.activation)
        rate = model.dropout if model.dropout_place == "block" else 0.0
        self.dropout = nn.Dropout(rate) if rate else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = batch_norm(model.norm, channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                *projection(channels_in, channels, model.shortcut_kernel, stride),
                batch_norm(model.norm, channels),
            )
        self.act2 = activation(model.activation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        y = self.dropout(self.act1(self.norm1(self.conv1(x))))
        y = self.norm2(self.conv2(y)) + self.shortcut(x)
        return self.act2(y)


class Subsample(nn.Module):
    """Every ``stride``-th row and column."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
        return x[:, :, :: self.stride, :: self.stride]


def projection(channels_in: int, channels: int, kernel: int, stride: int) -> list[nn.Module]:
    """The convolution of a shortcut.

    oneDNN's weight gradient of a strided 1x1 convolution in channels_last writes behind its
    memory below 16 input channels (torch 2.13, x86-64): there the stride goes before the
    convolution, which is the same function.
    """
    if kernel == 1 and stride > 1 and channels_in < 16:
        return [Subsample(stride), nn.Conv2d(channels_in, channels, 1, bias=False)]
    return [nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)]


class ResidualNet(nn.Module):
    """(Whitening, act), stem, stages of blocks, mean over the map, (dropout), dense."""

    def __init__(self, model: Residual, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.whitening, width = whitening_layers(model.whitening, image_shape[2], model.activation)
        self.stem = nn.Sequential(
            nn.Conv2d(width, model.stem, 3, 1, 1, bias=False),
            batch_norm(model.norm, model.stem),
            activation(model.activation),
        )
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        width = model.stem
        shape = zip(model.blocks, model.channels, model.strides, strict=True)
        for number, (blocks, channels, stride) in enumerate(shape, 1):
            first = BasicBlock(model, width, channels, stride)
            rest = [BasicBlock(model, channels, channels, 1) for _ in range(blocks - 1)]
            stages[f"stage{number}"] = nn.Sequential(first, *rest)
            width = channels
        self.stages = nn.Sequential(stages)
        rate = model.dropout if model.dropout_place == "head" else 0.0
        self.dropout = nn.Dropout(rate) if rate else nn.Identity()
        self.dense = Head(width, classes)
        self.apply(he_normal_)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, K)."""
        features = self.stages(self.stem(self.whitening(x))).mean((2, 3))
        return self.dense(self.dropout(features))
