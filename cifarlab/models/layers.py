"""Layers that several networks share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

# with the momentum of a whole step
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
_NEVER_IN_PLACE = {"gelu", "sigmoid", "prelu"}


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


class PixelNorm(nn.LayerNorm):
    """Layer normalisation of each pixel over its channels, as in Keras and ConvNeXt."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) or (N, C), and the same out."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def activation(name: str, *, inplace: bool = True) -> nn.Module:
    """Return an activation layer by name; ``inplace`` where it may overwrite its input."""
    layer = ACTIVATIONS[name]
    return layer() if name in _NEVER_IN_PLACE else layer(inplace=inplace)


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
