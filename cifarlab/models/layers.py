"""Layers and initialisations that several networks share."""

from collections.abc import Callable
from functools import partial

from torch import nn

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "silu": partial(nn.SiLU, inplace=True),
    "gelu": nn.GELU,
}


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
