"""Layers that several networks share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

# each with its momentum for an optimizer step of a single forward pass
BatchNorms = list[tuple[nn.BatchNorm1d | nn.BatchNorm2d, float]]
ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "prelu": nn.PReLU,
}
_WITHOUT_INPLACE = {"gelu", "sigmoid", "prelu"}


class Head(nn.Linear):
    """The last linear layer, in float32 whatever the arithmetic before it.

    In bfloat16 logits of 8 to 16 lie 1/16 apart: ties would be common, and ``argmax`` would give
    all of them to the lower class number.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits float32 (N, K) of features (N, F)."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


class GroupedNorm(nn.GroupNorm):
    """Group normalisation that avoids a crash and a slow path of torch 2.13 (CPU, channels_last).

    Torch's backward pass crashes where the input needs no gradient, as an image or the output of a
    frozen stage: the input is then made to need one. Torch is slow where each channel is a group:
    instance normalisation computes the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (N, C, ...)."""
        if x.ndim == 4 and self.num_groups == self.num_channels:
            y = functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
            return y.contiguous(memory_format=torch.channels_last)
        if torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()
        return super().forward(x)


class PixelNorm(nn.LayerNorm):
    """Layer normalisation of each pixel over its channels, as in Keras and ConvNeXt."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W) or (N, C)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def build_activation(name: str, *, inplace: bool = True) -> nn.Module:
    """Build an activation layer by name; ``inplace`` where it may overwrite its input."""
    layer = ACTIVATIONS[name]
    return layer() if name in _WITHOUT_INPLACE else layer(inplace=inplace)


def batch_norms(network: nn.Module) -> BatchNorms:
    """Return the batch normalisations of a network, each with its momentum."""
    return [
        (module, module.momentum)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.momentum is not None
    ]


def set_passes(norms: BatchNorms, passes: int) -> None:
    """Set momentums so that ``passes`` forward passes replace as much as a single one would.

    Each pass keeps (1 - momentum) ** (1 / passes) of the running statistics.
    """
    for layer, momentum in norms:
        layer.momentum = momentum if passes == 1 else 1 - (1 - momentum) ** (1 / passes)
