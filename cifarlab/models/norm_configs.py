"""The recipe's normalisation inside a network: one class for each kind."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import PositiveFloat, Width
from cifarlab.config.family import Family
from cifarlab.system.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn


class NormConfig(Family):
    """A normalisation inside a network: a kind adds its settings and ``build``."""

    normalizes: ClassVar[bool] = True  # without, convolutions get a bias
    needs_map: ClassVar[bool] = False  # whether it leaves nothing of a linear layer's values
    running_statistics: ClassVar[bool] = False  # whether it uses those of training in evaluation

    @abstractmethod
    def build(self, channels: int, size: tuple[int, int] | None) -> "nn.Module":
        """Build the layer for inputs (N, C, H, W), or (N, C) behind a linear layer.

        Args:
            channels: C
            size: (H, W) of the map; None: the input is no map
        """


class BaseNormConfig(NormConfig):
    """What all normalisations share that have parameters: a trained shift, and these."""

    scale: bool = Field(True, description="whether a trained factor per channel follows it")
    eps: PositiveFloat = Field(1e-5, description="added to the variance")
    init: Literal["default", "uniform"] = Field(
        "default",
        description="default: factors start at 1 and shifts at 0; uniform: both between -0.05 and "
        "0.05, Keras' random_uniform",
    )

    def start(self, layer: Any) -> "nn.Module":
        """Return a layer with the settings of its factors and shifts."""
        from torch import nn

        if self.init == "uniform":
            nn.init.uniform_(layer.weight, -0.05, 0.05)
            nn.init.uniform_(layer.bias, -0.05, 0.05)
        layer.weight.requires_grad_(self.scale)
        norm: nn.Module = layer
        return norm


class BatchNormConfig(BaseNormConfig):
    """Each channel over the batch and the map (Ioffe & Szegedy 2015)."""

    kind: Literal["batch"] = "batch"
    momentum: float = Field(
        0.1,
        gt=0,
        le=1,
        description="fraction of the running statistics replaced at each optimizer step",
    )
    running_statistics: ClassVar[bool] = True

    def build(self, channels: int, size: tuple[int, int] | None) -> "nn.Module":
        """Build nn.BatchNorm2d, or 1d behind a linear layer."""
        from torch import nn

        make = nn.BatchNorm2d if size else nn.BatchNorm1d
        return self.start(make(channels, self.eps, self.momentum))


class _GroupedConfig(BaseNormConfig):
    """Layer, group and instance normalisation: one, with different numbers of groups.

    Wu & He 2018, figure 2.
    """

    def n_groups(self, channels: int) -> int:
        """Return the number of groups of so many channels."""
        return 1

    def build(self, channels: int, size: tuple[int, int] | None) -> "nn.Module":
        """Build the layer.

        Raises:
            RecipeError: where a group would be a single value
        """
        from cifarlab.models.layers import GroupedNorm

        groups = self.n_groups(channels)
        height, width = size or (1, 1)
        if channels * height * width == groups:
            raise RecipeError(
                f"model.norm.kind={self.kind} leaves nothing of {channels} channels of 1 x 1 pixel",
                "take another norm.kind, larger images or fewer strides and pools",
            )
        return self.start(GroupedNorm(groups, channels, eps=self.eps))


class LayerNormConfig(_GroupedConfig):
    """Each image over all channels and the map (Ba et al. 2016; Wu & He 2018, figure 2)."""

    kind: Literal["layer"] = "layer"
    per_pixel: bool = Field(
        False, description="whether each pixel is normalised over its channels alone, as in Keras"
    )

    def build(self, channels: int, size: tuple[int, int] | None) -> "nn.Module":
        """Build it.

        Raises:
            RecipeError: it would normalise a single value
        """
        from cifarlab.models.layers import PixelNorm

        if not self.per_pixel or channels == 1:
            return super().build(channels, None if self.per_pixel else size)
        return self.start(PixelNorm(channels, eps=self.eps))


class GroupNormConfig(_GroupedConfig):
    """Each image over the map and one group of channels (Wu & He 2018).

    The paper has 32 groups for widths from 64 on; 8 divide the widths of small networks too.
    """

    kind: Literal["group"] = "group"
    num_groups: Width = Field(8, description="groups; they must divide every number of channels")

    def n_groups(self, channels: int) -> int:
        """Return the recipe's number of groups.

        Raises:
            RecipeError: where it doesn't divide the channels
        """
        if channels % self.num_groups:
            raise RecipeError(
                f"model.norm.num_groups={self.num_groups} doesn't divide the network's {channels} "
                "channels",
                "take a number that divides all its numbers of channels, or another norm.kind",
            )
        return self.num_groups


class InstanceNormConfig(_GroupedConfig):
    """Each image and channel over the map (Ulyanov et al. 2016)."""

    kind: Literal["instance"] = "instance"
    needs_map: ClassVar[bool] = True

    def n_groups(self, channels: int) -> int:
        """Return a group for each channel."""
        return channels


class NoNormConfig(NormConfig):
    """No normalisation; convolutions get a bias instead."""

    kind: Literal["none"] = "none"
    normalizes: ClassVar[bool] = False

    def build(self, channels: int, size: tuple[int, int] | None) -> "nn.Module":
        """Build an identity."""
        from torch import nn

        return nn.Identity()


Norm = SerializeAsAny[NormConfig]
