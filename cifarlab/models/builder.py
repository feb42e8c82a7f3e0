"""Layers in the order that a recipe gives, each fitting what flows out of the one before."""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from cifarlab.models.configs import LayeredConfig, Shape
from cifarlab.models.layers import build_activation
from cifarlab.models.normalizer_free import ScaledActivation, ScaledConv2d, activation_gain
from cifarlab.models.packed_conv import PackedConv2d
from cifarlab.system.errors import RecipeError


class Builder:
    """Builds layers named by step and number (conv1, norm1, act1, conv2), following their shapes.

    ``channels`` and ``size`` (H, W) are those of the last layer's output; ``size`` is None behind a
    linear layer. ``overwritable``: nothing else reads this output, so an activation may overwrite
    it. With ``standardized`` convolutions are ScaledConv2d, and without normalisation activations
    are ScaledActivation. With ``bias`` convolutions have one; without normalisation they always do.
    With ``padded`` they keep the size of the map.
    """

    def __init__(
        self,
        model: LayeredConfig,
        shape: Shape,
        *,
        bias: bool = False,
        standardized: bool = False,
        padded: bool = True,
    ) -> None:
        height, width, self.channels = shape
        self.size: tuple[int, int] | None = (height, width)
        self.overwritable = False
        self._model = model
        self._counts: Counter[str] = Counter()
        self._conv = ScaledConv2d if standardized else PackedConv2d
        self._bias, self._padded = bias or not model.norm.normalizes, padded
        scaled = standardized and not model.norm.normalizes
        self._gain = activation_gain(model.activation) if scaled else None

    @property
    def shape(self) -> Shape:
        """(H, W, C) of the last layer's output, which must be a map."""
        assert self.size is not None
        return (*self.size, self.channels)

    def build(
        self, steps: Iterable[str], sizes: Iterable[Sequence[int]] = (), dropout: float = 0.0
    ) -> OrderedDict[str, nn.Module]:
        """Return the next layers: conv, linear, norm, act, pool, dropout, flatten.

        Args:
            steps: their order. A step that would do nothing (norm ``none``, dropout of
                probability 0) adds no layer. ``flatten`` must come before linear layers.
            sizes: (channels, kernel size, stride) of each convolution, (channels,) of each linear
                layer
            dropout: the probability of zeroing an activation, where a step is dropout

        Raises:
            RecipeError: for a pool that leaves nothing
        """
        layers = OrderedDict[str, nn.Module]()
        size_iterator = iter(sizes)
        for step in steps:
            size = next(size_iterator) if step in ("conv", "linear") else ()
            for name, layer in self._layers(step, size, dropout):
                self._counts[name] += 1
                layers[f"{name}{self._counts[name]}"] = layer
                if name not in ("dropout", "flatten"):
                    self.overwritable = name != "act"
        return layers

    def _layers(
        self, step: str, size: Sequence[int], dropout: float
    ) -> Iterator[tuple[str, nn.Module]]:
        if step == "conv":
            yield from self._convolution(*size)
        elif step == "norm" and self._model.norm.normalizes:
            yield step, self._model.norm.build(self.channels, self.size)
        elif step == "act":
            act = build_activation(self._model.activation, inplace=self.overwritable)
            yield step, act if self._gain is None else ScaledActivation(act, self._gain)
        elif step == "pool":
            yield step, self._pool()
        elif step == "dropout" and dropout:
            yield step, nn.Dropout(dropout)
        elif step == "flatten":
            yield step, nn.Flatten()
            self.channels, self.size = math.prod(self.shape), None
        elif step == "linear":
            yield step, nn.Linear(self.channels, size[0])
            self.channels = size[0]

    def _convolution(
        self, channels: int, kernel_size: int, stride: int
    ) -> Iterator[tuple[str, nn.Module]]:
        """Yield a convolution.

        oneDNN's weight gradient of a strided 1x1 convolution in channels_last writes behind its
        memory below 16 input channels (torch 2.13, x86-64): there the stride goes before the
        convolution, which is the same function.
        """
        height, width, channels_in = self.shape
        padding = kernel_size // 2 if self._padded else 0
        trimmed = kernel_size - 1 - 2 * padding
        _require_map("convolution", (height, width), kernel_size if trimmed else 1)
        self.size = -(-(height - trimmed) // stride), -(-(width - trimmed) // stride)
        if kernel_size == 1 and stride > 1 and channels_in < 16:
            yield "subsample", nn.MaxPool2d(1, stride)
            stride = 1
        sizes = channels_in, channels, kernel_size, stride, padding
        yield "conv", self._conv(*sizes, bias=self._bias)
        self.channels = channels

    def _pool(self) -> nn.Module:
        height, width, _ = self.shape
        _require_map("pool", (height, width), 2)
        self.size = height // 2, width // 2
        return nn.MaxPool2d(2)


def _require_map(layer: str, size: tuple[int, int], least: int) -> None:
    """Raise RecipeError where a layer would leave nothing of a map of that size."""
    if min(size) < least:
        raise RecipeError(
            f"model.block: a {layer} of {size[0]} x {size[1]} pixels would leave nothing",
            "take fewer blocks (model.channels) or pools, or larger images",
        )
