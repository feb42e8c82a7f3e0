"""How a network is drawn: stages of blocks, each layer in two short lines."""

from typing import Literal, NamedTuple

from torch import nn

from cifarlab.models.layers import ACTIVATIONS
from cifarlab.models.network import named_children
from cifarlab.models.normalizer_free import ScaledActivation, ScaledConv2d
from cifarlab.models.whitening import Whitening

Kind = Literal["conv", "norm", "act", "pool", "linear", "other", "add"]

# what the abbreviations in a drawing mean
ABBREVIATIONS = {
    "BN": "batch normalisation",
    "LN": "layer normalisation",
    "GN": "group normalisation, of so many groups",
    "IN": "instance normalisation",
    "÷ β": "divided by the standard deviation that is expected",
    "× α g": "times the recipe's alpha and a trained gain",
}


class LayerStep(NamedTuple):
    """One layer: what it is, its size, and what kind of layer it is."""

    text: str
    note: str
    kind: Kind


ADDITION = LayerStep("+", "", "add")  # of a shortcut


class Shortcut(NamedTuple):
    """A path around layers from before step ``start`` to step ``end``, the addition."""

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
    """Return the blocks of each stage; without a method ``outline`` each child is a stage."""
    if declared := getattr(body, "outline", None):
        outline: Outline = declared()
        return outline
    parts = named_children(body) or {"network": body}
    return {name: [outline_block(child)] for name, child in parts.items()}


def outline_block(*parts: nn.Module | LayerStep) -> Block:
    """Return the block of layers that run in turn; a single module's own ``outline`` counts."""
    if len(parts) == 1 and (declared := getattr(parts[0], "outline", None)):
        block: Block = declared()
        return block
    modules = tuple(part for part in parts if isinstance(part, nn.Module))
    return Block(modules, layer_steps(*parts))


def layer_steps(*parts: nn.Module | LayerStep) -> tuple[LayerStep, ...]:
    """Return the layers of modules one after another, those of nn.Sequential by themselves."""
    steps: list[LayerStep] = []
    for part in parts:
        if isinstance(part, nn.Sequential):
            steps += layer_steps(*part)
        elif not isinstance(part, nn.Identity):
            steps.append(part if isinstance(part, LayerStep) else _step(part))
    return tuple(steps)


def _step(module: nn.Module) -> LayerStep:
    match module:
        case nn.Conv2d(kernel_size=(side, _), stride=(stride, _), out_channels=channels):
            scaled = "scaled " if isinstance(module, ScaledConv2d) else ""
            note = f"{channels}, /{stride}" if stride > 1 else f"{channels}"
            return LayerStep(f"{scaled}{side}×{side}", note, "conv")
        case Whitening(weight=weight):
            return LayerStep(
                f"whitening {weight.shape[-1]}×{weight.shape[-1]}", f"{len(weight)}", "conv"
            )
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return LayerStep("BN", "", "norm")
        case nn.GroupNorm(num_groups=1) | nn.LayerNorm():
            return LayerStep("LN", "", "norm")
        case nn.GroupNorm(num_groups=groups, num_channels=channels):
            instance = groups == channels
            return LayerStep("IN" if instance else "GN", "" if instance else f"{groups}", "norm")
        case nn.Linear(out_features=width):
            return LayerStep("linear", f"{width}", "linear")
        case ScaledActivation(act=act, gain=gain):
            return LayerStep(_step(act).text, f"× {gain:.3g}", "act")
        case nn.MaxPool2d(kernel_size=1, stride=stride):
            return LayerStep("sparse", f"/{stride}", "pool")
        case nn.MaxPool2d(kernel_size=side):
            return LayerStep("pool", f"max {side}×{side}", "pool")
        case nn.Dropout(p=p):
            return LayerStep("dropout", f"{p:g}", "other")
    name = type(module).__name__
    kind: Kind = "act" if type(module) in ACTIVATIONS.values() else "other"
    return LayerStep({"LeakyReLU": "leaky", "Flatten": "flatten"}.get(name, name), "", kind)
