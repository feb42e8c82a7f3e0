"""How a network is drawn: stages of blocks, each layer in two short lines."""

from typing import Literal, NamedTuple

from torch import nn

from cifarlab.models.builder import Subsample
from cifarlab.models.network import children
from cifarlab.models.normalizer_free import ScaledActivation, ScaledConv2d
from cifarlab.models.whitening import Whitening

Kind = Literal["conv", "norm", "act", "pool", "linear", "other", "add"]

# how a drawing's letters read in full
ABBREVIATIONS = {
    "BN": "batch normalisation",
    "LN": "layer normalisation",
    "GN": "group normalisation, of so many groups",
    "IN": "instance normalisation",
    "÷ β": "divided by the standard deviation that is expected",
    "× α g": "times the recipe's alpha and a trained gain",
}
_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "ReLU",
    nn.ReLU6: "ReLU6",
    nn.LeakyReLU: "leaky",
    nn.ELU: "ELU",
    nn.SiLU: "SiLU",
    nn.GELU: "GELU",
}


class LayerStep(NamedTuple):
    """One layer: what it is, its size, and what kind of layer it is."""

    text: str
    note: str
    kind: Kind


class Shortcut(NamedTuple):
    """A way around layers: from before step ``start`` to step ``end``, which adds; its layers."""

    start: int
    end: int
    steps: tuple[LayerStep, ...]


class Block(NamedTuple):
    """Layers one after the other: the modules that hold them, and what is drawn."""

    modules: tuple[nn.Module, ...]
    steps: tuple[LayerStep, ...]
    shortcut: Shortcut | None = None


Outline = dict[str, list[Block]]  # by the stages' names


def network_outline(body: nn.Module) -> Outline:
    """Return the blocks of each stage; of a network that says nothing its children are stages."""
    if declared := getattr(body, "outline", None):
        outline: Outline = declared()
        return outline
    parts = children(body) or {"network": body}
    return {name: [module_block(child)] for name, child in parts.items()}


def module_block(*modules: nn.Module) -> Block:
    """Return a block of modules that run in turn; one may have an ``outline`` of its own."""
    if len(modules) == 1 and (declared := getattr(modules[0], "outline", None)):
        block: Block = declared()
        return block
    return Block(modules, tuple(step for module in modules for step in layer_steps(module)))


def addition_step() -> LayerStep:
    """The addition of a shortcut."""
    return LayerStep("+", "", "add")


def layer_steps(module: nn.Module) -> tuple[LayerStep, ...]:
    """The layers inside a module that does nothing but run them in turn; none for an identity."""
    if isinstance(module, nn.Sequential):
        return tuple(step for child in module.children() for step in layer_steps(child))
    step = _step(module)
    return (step,) if step else ()


def _step(module: nn.Module) -> LayerStep | None:
    if isinstance(module, nn.Identity):
        return None
    if isinstance(module, nn.Conv2d):
        scaled = "scaled " if isinstance(module, ScaledConv2d) else ""
        side, stride = module.kernel_size[0], module.stride[0]
        note = f"{module.out_channels}" + (f", /{stride}" if stride > 1 else "")
        return LayerStep(f"{scaled}{side}×{side}", note, "conv")
    if isinstance(module, Whitening):
        filters, _, side, _ = module.weight.shape
        return LayerStep(f"whitening {side}×{side}", f"{filters}", "conv")
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return LayerStep("BN", "", "norm")
    if isinstance(module, nn.GroupNorm):
        return _group_norm(module)
    if isinstance(module, nn.Linear):
        return LayerStep("linear", f"{module.out_features}", "linear")
    return _parameterless_step(module)


def _group_norm(module: nn.GroupNorm) -> LayerStep:
    if module.num_groups == 1:
        return LayerStep("LN", "", "norm")
    if module.num_groups == module.num_channels:
        return LayerStep("IN", "", "norm")
    return LayerStep("GN", f"{module.num_groups}", "norm")


def _parameterless_step(module: nn.Module) -> LayerStep:
    """A layer without parameters."""
    if isinstance(module, ScaledActivation):
        return LayerStep(_ACTIVATIONS[type(module.act)], f"× {module.gain:.3g}", "act")
    if type(module) in _ACTIVATIONS:
        return LayerStep(_ACTIVATIONS[type(module)], "", "act")
    if isinstance(module, nn.MaxPool2d):
        return LayerStep("pool", f"max {module.kernel_size}×{module.kernel_size}", "pool")
    if isinstance(module, nn.Dropout):
        return LayerStep("dropout", f"{module.p:g}", "other")
    if isinstance(module, Subsample):
        return LayerStep("sparse", f"/{module.stride}", "pool")
    if isinstance(module, nn.Flatten):
        return LayerStep("flatten", "", "other")
    return LayerStep(type(module).__name__, "", "other")
