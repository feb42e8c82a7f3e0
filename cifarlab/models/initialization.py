"""How convolutions and linear layers start."""

from collections.abc import Callable

from torch import nn


def initialize_(network: nn.Module, name: str) -> None:
    """Start all convolutions and linear layers inside as the recipe's ``init`` says.

    ``default`` leaves them as they are; ``fan_out`` is what residual networks begin with. A
    whitening layer is neither.
    """
    if name != "default" and has_values(network):
        network.apply(_INITIALIZERS[name])


def has_values(network: nn.Module) -> bool:
    """Whether there is anything to initialise: on the meta device there are shapes alone.

    Drawing normal numbers there would import torch's compiler, which takes over a second.
    """
    return not any(parameter.is_meta for parameter in network.parameters())


def dirac_(module: nn.Module) -> None:
    """A convolution's first filters, one per input channel, pass that channel through unchanged.

    Zagoruyko & Komodakis 2017 (arXiv:1706.00388), in part as in airbench (Jordan 2024,
    arXiv:2404.00498, section 3.2): filters beyond the number of input channels stay as they are.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.dirac_(module.weight.detach()[: module.in_channels])


def fan_out_(module: nn.Module) -> None:
    """He et al. 2015 for convolutions, by fan-out, biases zero: residual networks' default."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        _no_bias(module)


def kaiming_normal_(module: nn.Module) -> None:
    """He et al. 2015 (equation 10): normal of variance 2 / fan-in, biases zero."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        _no_bias(module)


def kaiming_uniform_(module: nn.Module) -> None:
    """The same variance, uniform, as in the tutorial CNN."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        _no_bias(module)


def xavier_uniform_(module: nn.Module) -> None:
    """Glorot & Bengio 2010 (equation 16): uniform, variance 2 / (fan-in + fan-out), biases zero."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        _no_bias(module)


def orthogonal_(module: nn.Module) -> None:
    """Saxe et al. 2014: a random orthogonal matrix with a row for each filter, biases zero.

    Where there are more filters than entries in one, the columns are orthonormal instead.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.orthogonal_(module.weight)
        _no_bias(module)


def _no_bias(module: nn.Conv2d | nn.Linear) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)


_INITIALIZERS: dict[str, Callable[[nn.Module], None]] = {
    "fan_out": fan_out_,
    "dirac": dirac_,
    "kaiming_normal": kaiming_normal_,
    "kaiming_uniform": kaiming_uniform_,
    "xavier_uniform": xavier_uniform_,
    "orthogonal": orthogonal_,
}
