"""Layers that several networks share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cifarlab.models.norm_configs import (
    BatchNormConfig,
    GroupNormConfig,
    InstanceNormConfig,
    NoNormConfig,
    Norm,
)
from cifarlab.system.errors import RecipeError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)  # what norm_layer makes
BatchNorms = list[
    tuple[nn.BatchNorm1d | nn.BatchNorm2d, float]
]  # with the momentum of a whole step
_ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}


class Head(nn.Linear):
    """The last linear layer, in float32 whatever the arithmetic before it.

    In bfloat16 logits of 8 to 16 lie 1/16 apart: ties would be common, and ``argmax`` would give
    all of them to the lower class number.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) -> logits float32 (N, K)."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


class GroupedNorm(nn.GroupNorm):
    """Group normalisation where torch's own (2.13, CPU, channels_last) crashes or is slow.

    Its backward pass crashes where the input needs no gradient, as an image or a frozen stage, so
    that a gradient is asked for that nobody uses. Slow is as many groups as channels; instance
    normalisation is the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...), and the same out."""
        if x.ndim == 4 and self.num_groups == self.num_channels:
            y = functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
            return y.contiguous(memory_format=torch.channels_last)
        if torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()
        return super().forward(x)


def activation(name: str, *, inplace: bool = True) -> nn.Module:
    """Return an activation layer by its recipe name; ``inplace`` where it may overwrite its input."""
    return nn.GELU() if name == "gelu" else _ACTIVATIONS[name](inplace=inplace)


def norm_layer(norm: Norm, channels: int, size: tuple[int, int] | None) -> nn.Module:
    """Return the normalisation that the recipe has; without ``scale`` its weight stays one.

    ``size`` is the map's (H, W); None: there is none, as behind a linear layer. Layer, group and
    instance normalisation are one with different numbers of groups (Wu & He 2018, figure 2).
    Raises RecipeError where the groups don't divide the channels or hold single values.
    """
    if isinstance(norm, NoNormConfig):
        return nn.Identity()
    layer: nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm
    if isinstance(norm, BatchNormConfig):
        if size:
            layer = nn.BatchNorm2d(channels, norm.eps, norm.momentum)
        else:
            layer = nn.BatchNorm1d(channels, norm.eps, norm.momentum)
    else:
        layer = GroupedNorm(_groups(norm, channels, size or (1, 1)), channels, eps=norm.eps)
    layer.weight.requires_grad_(norm.scale)
    return layer


def _groups(norm: Norm, channels: int, size: tuple[int, int]) -> int:
    groups = 1
    if isinstance(norm, InstanceNormConfig):
        groups = channels
    if isinstance(norm, GroupNormConfig):
        groups = norm.num_groups
        if channels % groups:
            raise RecipeError(
                f"model.norm.num_groups={groups} doesn't divide the network's {channels} channels",
                "take a number that divides all its numbers of channels, or another norm.kind",
            )
    height, width = size
    if channels * height * width == groups:
        raise RecipeError(
            f"model.norm.kind={norm.kind} leaves nothing of {channels} channels of 1 x 1 pixel",
            "take another norm.kind, larger images or fewer strides and pools",
        )
    return groups


def batch_norms(network: nn.Module) -> BatchNorms:
    """Return its batch normalisations, each with the momentum of a whole step."""
    return [
        (module, module.momentum)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.momentum is not None
    ]


def set_passes(norms: BatchNorms, passes: int) -> None:
    """Make all ``passes`` of the coming step together replace what one pass would replace.

    Each pass keeps (1 - momentum) ** (1 / passes) of the running statistics.
    """
    for layer, momentum in norms:
        layer.momentum = momentum if passes == 1 else 1 - (1 - momentum) ** (1 / passes)
