"""What tools read from a network, and the defaults for any other ``nn.Module``.

A module may have these; all shipped networks do:

    memory_format = torch.channels_last     the layout that it is written for, else PyTorch's usual
    def stage_modules(self) -> list[list[nn.Module]]     what is frozen together
    def map_layers(self) -> dict[str, nn.Module]         layers that put out maps (N, C, H, W)
    def outline(self) -> dict[str, list[Block]]          how it is drawn (models/outline.py)

All are in the order of the data. Without them the children of a module are its stages and blocks.
"""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from cifarlab.config.base import ROLES, Role
from cifarlab.models.classifier import Classifier
from cifarlab.system.errors import RecipeError

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def named_children(network: nn.Module) -> dict[str, nn.Module]:
    """Return the children by name; where a single one has parameters, its children instead.

    The entries of a list of modules count as children: the list itself is never run.
    """
    children: dict[str, nn.Module] = {}
    for name, child in network.named_children():
        is_list = isinstance(child, nn.ModuleList | nn.ModuleDict)
        entries = {f"{name}.{index}": entry for index, entry in child.named_children()}
        children |= entries if is_list else {name: child}
    wrappers = [n for n, child in children.items() if next(child.parameters(), None) is not None]
    inner = named_children(children[wrappers[0]]) if len(wrappers) == 1 else {}
    return {f"{wrappers[0]}.{name}": child for name, child in inner.items()} or children


def stages(classifier: Classifier) -> list[list[nn.Parameter]]:
    """Return the parameters of each stage, in the order of the data; the last layer is in none.

    What comes before the first stage belongs to it.
    """
    body = classifier.body
    declared = getattr(body, "stage_modules", None)
    if declared:
        return [[p for m in stage for p in m.parameters()] for stage in declared()]
    parts = [list(child.parameters()) for child in named_children(body).values()] or [[]]
    head, part_parameters = last_linear(body), {p for part in parts for p in part}
    parts[0][:0] = [p for p in body.parameters() if p not in part_parameters]
    head_parameters = set(head.parameters()) if head else set()
    parts = [[p for p in part if p not in head_parameters] for part in parts]
    return [part for part in parts if part]


def map_layers(body: nn.Module, map_modules: Iterable[nn.Module]) -> dict[str, nn.Module]:
    """Return the layers whose outputs are the network's feature maps, by name, in the data's order.

    ``map_modules`` are all modules whose outputs are maps (N, C, H, W), in the order in which they
    ran. Without a method ``map_layers`` it is the last of them in each child with parameters.
    """
    if declared := getattr(body, "map_layers", None):
        layers: dict[str, nn.Module] = declared()
        return layers
    latest = list(map_modules)[::-1]
    last = {
        name: next((m for m in latest if m in set(child.modules())), None)
        for name, child in named_children(body).items()
        if next(child.parameters(), None) is not None
    }
    # an empty Sequential, such as a block's identity, is false
    return {name: layer for name, layer in last.items() if layer is not None}


def last_linear(network: nn.Module) -> nn.Linear | None:
    """Return the last linear layer: what turns features into logits, in most networks."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def parameter_roles(classifier: nn.Module) -> dict[Role, list[nn.Parameter]]:
    """Return the trainable parameters, each once, by role; every role is a key, in Role's order.

    matrices: weights of convolutions and hidden linear layers; shortcuts: weights of those that
    stand on a shortcut; norms: weights and biases of
    normalisation layers, and the gains that stand in for them; biases: all others of at most one
    dimension; head: weight and bias of the last linear layer; whitening: the whitening layer's
    bias. A module's ``parameter_roles`` has the roles of its own parameters, by name.

    Raises:
        RecipeError: one of its ``parameter_roles`` is no role
    """
    roles: dict[Role, list[nn.Parameter]] = {role: [] for role in ROLES}
    head, visited = last_linear(classifier), set()
    for module in classifier.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in visited:
                visited.add(parameter)
                role = "head" if module is head else _role(module, name, parameter)
                roles[role].append(parameter)
    return roles


def _role(module: nn.Module, name: str, parameter: nn.Parameter) -> Role:
    if declared := getattr(module, "parameter_roles", {}).get(name):
        for role in ROLES:
            if declared == role:
                return role
        what = f"the role {declared!r} of {name} in {type(module).__name__} is no role"
        raise RecipeError(what, f"take one of {', '.join(ROLES)}")
    if isinstance(module, _NORMS) or name == "gain":
        return "norms"
    return "matrices" if parameter.ndim > 1 else "biases"
