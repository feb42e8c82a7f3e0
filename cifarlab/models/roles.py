"""What each parameter is for, so that optimizers can treat the roles differently."""

from typing import Literal, get_args

from torch import nn

from cifarlab.models.layers import Head
from cifarlab.models.whitening import Whitening

Role = Literal["matrices", "norms", "biases", "head", "whitening"]


def parameter_roles(classifier: nn.Module) -> dict[Role, list[nn.Parameter]]:
    """The trainable parameters, each once, by role; every role is a key, in the order of Role.

    matrices: weights of convolutions and hidden dense layers; norms: weights and biases of
    normalisation layers; biases: all other biases; head: weight and bias of the last dense
    layer; whitening: the whitening layer's bias.
    """
    roles: dict[Role, list[nn.Parameter]] = {role: [] for role in get_args(Role)}
    for module in classifier.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad:
                roles[_role(module, parameter)].append(parameter)
    return roles


def _role(module: nn.Module, parameter: nn.Parameter) -> Role:
    if isinstance(module, Whitening):
        return "whitening"
    if isinstance(module, Head):
        return "head"
    if isinstance(module, nn.BatchNorm2d):
        return "norms"
    return "matrices" if parameter.ndim > 1 else "biases"
