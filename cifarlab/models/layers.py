"""Layers and initialisations that several networks share."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from cifarlab.recipe.networks import BatchNorm

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "silu": partial(nn.SiLU, inplace=True),
    "gelu": nn.GELU,
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


def activation(name: str) -> nn.Module:
    """A fresh activation layer by its recipe name."""
    return _ACTIVATIONS[name]()


def batch_norm(norm: BatchNorm, channels: int) -> nn.BatchNorm2d:
    """Batch normalisation as the recipe has it; without ``scale`` its weight stays one.

    torch's momentum is the share that is replaced, rounded so that 0.9 gives its own 0.1.
    """
    layer = nn.BatchNorm2d(channels, eps=norm.eps, momentum=round(1 - norm.momentum, 12))
    layer.weight.requires_grad_(norm.scale)
    return layer


def adapt_to_passes(classifier: nn.Module, passes: int) -> None:
    """Keep the recipe's ``norm.momentum`` per optimizer step, of ``passes`` forward passes each.

    A pass keeps the share (share per step) ** (1 / passes) of the running statistics. To be
    called once per network.
    """
    if passes == 1:
        return
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = 1 - (1 - module.momentum) ** (1 / passes)


def dirac_(module: nn.Module) -> None:
    """A convolution's first filters, one per input channel, pass that channel through unchanged.

    Zagoruyko & Komodakis 2017 (arXiv:1706.00388), in part as in airbench (Jordan 2024,
    arXiv:2404.00498, section 3.2): filters beyond the number of input channels stay as they are.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.dirac_(module.weight.detach()[: module.in_channels])


def he_normal_(module: nn.Module) -> None:
    """He et al. 2015 for convolutions, by fan-out, as the residual networks' paper has it."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def he_uniform_(module: nn.Module) -> None:
    """He et al. 2015, uniform, by fan-in, biases zero: the tutorial CNN's ``he_uniform``."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
