"""Layers and initialisations that several networks share."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

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
