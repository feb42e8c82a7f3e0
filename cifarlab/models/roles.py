"""What each parameter is for, so that optimizers can treat the roles differently."""

from typing import Literal, get_args

from torch import nn

from cifarlab.models.layers import NORMS, Head
from cifarlab.models.whitening import Whitening

Role = Literal["matrices", "norms", "biases", "head", "whitening"]


def parameter_roles(classifier: nn.Module) -> dict[Role, list[nn.Parameter]]:
    """Return the trainable parameters, each once, by role; every role is a key, in the order of Role.

    matrices: weights of convolutions and hidden linear layers; norms: weights and biases of
    normalisation layers, and the gains that stand in for them; biases: all other biases; head:
    weight and bias of the last linear layer; whitening: the whitening layer's bias.
    """
    roles: dict[Role, list[nn.Parameter]] = {role: [] for role in get_args(Role)}
    for module in classifier.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                roles[_role(module, name, parameter)].append(parameter)
    return roles


def _role(module: nn.Module, name: str, parameter: nn.Parameter) -> Role:
    if isinstance(module, Whitening):
        return "whitening"
    if isinstance(module, Head):
        return "head"
    if isinstance(module, NORMS) or name == "gain":
        return "norms"
    return "matrices" if parameter.ndim > 1 else "biases"
