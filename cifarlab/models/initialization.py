"""How convolutions and linear layers start."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import init

_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    # He et al. 2015: residual networks' default, of convolutions alone
    "fan_out": partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
    # He et al. 2015 (equation 10): variance 2 / fan-in
    "kaiming_normal": partial(init.kaiming_normal_, nonlinearity="relu"),
    "kaiming_uniform": partial(init.kaiming_uniform_, nonlinearity="relu"),
    # Glorot & Bengio 2010 (equation 16): variance 2 / (fan-in + fan-out)
    "xavier_uniform": init.xavier_uniform_,
    # Saxe et al. 2014: a row for each filter; more filters than entries: orthonormal columns
    "orthogonal": init.orthogonal_,
}


def initialize_(network: nn.Module, name: str) -> None:
    """Initialise all convolutions and linear layers of a network by the recipe's ``init``.

    ``default`` leaves them as they are; all others but ``dirac`` set biases to zero; ``fan_out``
    is what residual networks begin with. ``dirac``: a convolution's first filters, one per input
    channel, pass that channel through unchanged (Zagoruyko & Komodakis 2017, arXiv:1706.00388; in
    part as in airbench, Jordan 2024, arXiv:2404.00498, section 3.2). A whitening layer is neither.
    """
    if name == "default" or not has_values(network):
        return
    for module in network.modules():
        if name == "dirac" and isinstance(module, nn.Conv2d):
            init.dirac_(module.weight.detach()[: module.in_channels])
        elif name in _WEIGHTS and isinstance(module, nn.Conv2d | nn.Linear):
            if name == "fan_out" and isinstance(module, nn.Linear):
                continue
            _WEIGHTS[name](module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)


def has_values(network: nn.Module) -> bool:
    """Return whether there is anything to initialise: tensors on the meta device have no values.

    Drawing normal numbers there would import torch's compiler, which takes over a second.
    """
    return not any(parameter.is_meta for parameter in network.parameters())
