"""Layers that several networks share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cifarlab.models.norm_configs import BatchNorm, GroupNorm, InstanceNorm, NoNorm, Norm
from cifarlab.system.errors import RecipeError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)  # what norm_layer makes
BatchNorms = list[tuple[nn.BatchNorm1d | nn.BatchNorm2d, float]]  # with the momentum of one pass
_ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}


class Head(nn.Linear):
    """The last dense layer, in float32 whatever the arithmetic before it.

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
            each = functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
            return each.contiguous(memory_format=torch.channels_last)
        if torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()
        return super().forward(x)


def activation(name: str, *, inplace: bool = True) -> nn.Module:
    """A fresh activation layer by its recipe name; ``inplace`` where it may overwrite its input."""
    return nn.GELU() if name == "gelu" else _ACTIVATIONS[name](inplace=inplace)


def norm_layer(norm: Norm, channels: int, size: tuple[int, int] | None) -> nn.Module:
    """Normalisation as the recipe has it; without ``scale`` its weight stays one.

    ``size`` is the map's (H, W); None: there is none, as behind a dense layer. Layer, group and
    instance normalisation are one with different numbers of groups (Wu & He 2018, figure 2).
    Raises RecipeError where the groups don't divide the channels or hold single values.
    """
    if isinstance(norm, NoNorm):
        return nn.Identity()
    layer: nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm
    if isinstance(norm, BatchNorm):
        # torch's momentum is the share that is replaced, rounded so that 0.9 gives its own 0.1
        replaced = round(1 - norm.momentum, 12)
        if size:
            layer = nn.BatchNorm2d(channels, norm.eps, replaced)
        else:
            layer = nn.BatchNorm1d(channels, norm.eps, replaced)
    else:
        layer = GroupedNorm(_groups(norm, channels, size or (1, 1)), channels, eps=norm.eps)
    layer.weight.requires_grad_(norm.scale)
    return layer


def _groups(norm: Norm, channels: int, size: tuple[int, int]) -> int:
    groups = 1
    if isinstance(norm, InstanceNorm):
        groups = channels
    if isinstance(norm, GroupNorm):
        groups = norm.groups
        if channels % groups:
            raise RecipeError(
                f"model.norm.groups={groups} doesn't divide the network's {channels} channels",
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
    """Return its batch normalisations, each with the share of the statistics that it replaces."""
    return [
        (module, module.momentum)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.momentum is not None
    ]


def set_passes(norms: BatchNorms, passes: int) -> None:
    """Make all ``passes`` of the coming step together replace what one pass would replace.

    Each keeps the share (share kept per step) ** (1 / passes) of the running statistics.
    """
    for layer, replaced in norms:
        layer.momentum = replaced if passes == 1 else 1 - (1 - replaced) ** (1 / passes)
