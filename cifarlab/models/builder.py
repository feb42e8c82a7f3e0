"""Layers in the order that a recipe gives, each fitting what flows out of the one before."""

from collections import Counter, OrderedDict

from torch import Tensor, nn

from cifarlab.models.configs import LayeredConfig
from cifarlab.models.layers import activation
from cifarlab.models.normalizer_free import ScaledActivation, ScaledConv2d, activation_gain
from cifarlab.models.packed_conv import PackedConv2d
from cifarlab.system.errors import RecipeError


class Subsample(nn.Module):
    """Every ``stride``-th row and column."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
        return x[:, :, :: self.stride, :: self.stride]


class Builder:
    """Adds layers named by step and number (conv1, norm1, act1, conv2), following their shapes.

    ``channels`` and ``size`` (H, W) are of what flows out of the last; ``size`` is None behind a
    linear layer. ``overwritable`` says that nothing else needs this, so that an activation may
    overwrite it. A step that would do nothing (norm ``none``, dropout at rate 0) adds no layer.
    ``standardized``: convolutions are (ScaledConv2d); ``scaled``: activations are.
    """

    def __init__(
        self,
        model: LayeredConfig,
        image_shape: tuple[int, int, int],
        standardized: bool = False,
        scaled: bool = False,
    ) -> None:
        height, width, self.channels = image_shape
        self.size: tuple[int, int] | None = (height, width)
        self.overwritable = False
        self._model = model
        self._layers: list[tuple[str, nn.Module]] = []
        self._counts: Counter[str] = Counter()
        self._conv = ScaledConv2d if standardized else PackedConv2d
        self._gain = activation_gain(model.activation) if scaled else None

    def conv(self, channels: int, kernel_size: int, stride: int = 1, *, bias: bool = False) -> None:
        """Add a convolution with padding "same"; without normalisation it always has a bias.

        oneDNN's weight gradient of a strided 1x1 convolution in channels_last writes behind its
        memory below 16 input channels (torch 2.13, x86-64): there the stride goes before the
        convolution, which is the same function.
        """
        bias = bias or not self._model.norm.normalizes
        self.size = self._strided_size(stride)
        if kernel_size == 1 and stride > 1 and self.channels < 16:
            self._add("subsample", Subsample(stride))
            stride = 1
        self._add(
            "conv",
            self._conv(self.channels, channels, kernel_size, stride, kernel_size // 2, bias=bias),
        )
        self.channels, self.overwritable = channels, True

    def linear(self, width: int) -> None:
        """Add a linear layer; the first one flattens the map."""
        self._add("linear", nn.Linear(self.flatten(), width))
        self.channels, self.overwritable = width, True

    def flatten(self) -> int:
        """Turn a map into as many channels as it has values; return their number."""
        if self.size is not None:
            self._add("flatten", nn.Flatten())
            self.channels *= self.size[0] * self.size[1]
            self.size = None
        return self.channels

    def step(self, name: str, dropout: float = 0.0) -> None:
        """Add one of norm, act, pool, dropout (of that rate). Raises RecipeError."""
        if name == "norm":
            self.norm()
        elif name == "act":
            act = activation(self._model.activation, inplace=self.overwritable)
            self._add("act", act if self._gain is None else ScaledActivation(act, self._gain))
            self.overwritable = False
        elif name == "pool":
            self._pool()
        elif dropout:
            assert name == "dropout"
            self._add("dropout", nn.Dropout(dropout))

    def norm(self) -> None:
        """Add the recipe's normalisation. Raises RecipeError."""
        if self._model.norm.normalizes:
            self._add("norm", self._model.norm.build(self.channels, self.size))
            self.overwritable = True

    def pop_layers(self) -> nn.Sequential:
        """Return the layers added since the last call."""
        layers = nn.Sequential(OrderedDict(self._layers))
        self._layers = []
        return layers

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of what flows out; there must be a map."""
        assert self.size is not None
        return (*self.size, self.channels)

    def _pool(self) -> None:
        assert self.size is not None
        height, width = self.size
        if min(height, width) < 2:
            raise RecipeError(
                f"model.block: a pool of {height} x {width} pixels would leave nothing",
                "take fewer blocks (model.channels) or pools, or larger images",
            )
        self._add("pool", nn.MaxPool2d(2))
        self.size, self.overwritable = (height // 2, width // 2), True

    def _strided_size(self, stride: int) -> tuple[int, int]:
        assert self.size is not None
        height, width = self.size
        return -(-height // stride), -(-width // stride)

    def _add(self, name: str, layer: nn.Module) -> None:
        self._counts[name] += 1
        self._layers.append((f"{name}{self._counts[name]}", layer))
