"""The recipe's normalisation inside a network: one class for each kind."""

from typing import Literal

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import PositiveFloat, Width
from cifarlab.config.family import Family


class NormConfig(Family):
    """A normalisation inside a network."""


class BaseNormConfig(NormConfig):
    """What all normalisations share that have parameters: a trained shift, and these."""

    kind: str
    scale: bool = Field(True, description="whether a trained factor per channel follows it")
    eps: PositiveFloat = Field(1e-5, description="added to the variance")


class BatchNormConfig(BaseNormConfig):
    """Each channel over the batch and the map (Ioffe & Szegedy 2015)."""

    kind: Literal["batch"] = "batch"
    momentum: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of the running statistics replaced at each optimizer step",
    )


class LayerNormConfig(BaseNormConfig):
    """Each image over all channels and the map (Ba et al. 2016; Wu & He 2018, figure 2)."""

    kind: Literal["layer"] = "layer"


class GroupNormConfig(BaseNormConfig):
    """Each image over the map and one group of channels (Wu & He 2018).

    The paper has 32 groups for widths from 64 on; 8 divide the widths of small networks too.
    """

    kind: Literal["group"] = "group"
    num_groups: Width = Field(8, description="groups; they must divide every number of channels")


class InstanceNormConfig(BaseNormConfig):
    """Each image and channel over the map (Ulyanov et al. 2016)."""

    kind: Literal["instance"] = "instance"


class NoNormConfig(NormConfig):
    """Nothing in the place of a normalisation; convolutions get a bias instead."""

    kind: Literal["none"] = "none"


Norm = SerializeAsAny[NormConfig]
