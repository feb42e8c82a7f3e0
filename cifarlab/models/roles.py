"""What each parameter is for, so that optimizers can treat the roles differently."""

from typing import get_args

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from cifarlab.models.configs import Role
from cifarlab.models.network import last_linear

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def parameter_roles(classifier: nn.Module) -> dict[Role, list[nn.Parameter]]:
    """Return the trainable parameters, each once, by role; every role is a key, in Role's order.

    matrices: weights of convolutions and hidden linear layers; norms: weights and biases of
    normalisation layers, and the gains that stand in for them; biases: all others of at most one
    dimension; head: weight and bias of the last linear layer; whitening: the whitening layer's
    bias. A module's ``parameter_role`` says it for the parameters that are the module's own.
    """
    roles: dict[Role, list[nn.Parameter]] = {role: [] for role in get_args(Role)}
    head, known = last_linear(classifier), set()
    for module in classifier.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in known:
                known.add(parameter)
                role = "head" if module is head else _role(module, name, parameter)
                roles[role].append(parameter)
    return roles


def _role(module: nn.Module, name: str, parameter: nn.Parameter) -> Role:
    if declared := getattr(module, "parameter_role", None):
        role: Role = declared
        return role
    if isinstance(module, _NORMS) or name == "gain":
        return "norms"
    return "matrices" if parameter.ndim > 1 else "biases"
