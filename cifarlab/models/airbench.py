"""Settings of the speed-run network."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from cifarlab.config.base import PositiveFloat, Width
from cifarlab.models.configs import (
    INIT,
    Activation,
    Init,
    LayeredConfig,
    WhiteningConfig,
    as_tuple,
    builds_on_meta,
)
from cifarlab.models.norm_configs import BatchNormConfig, Norm

if TYPE_CHECKING:
    from torch import nn

GroupDepth = Annotated[int, Field(ge=1, le=4)]


class AirbenchConfig(LayeredConfig):
    """Whitening layer, groups of [conv, pool, norm, act, (conv, norm, act) ...], max-pool, head.

    The network of KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498, section 3).
    """

    kind: Literal["airbench"] = "airbench"
    any_image_size: ClassVar[bool] = True
    activation: Activation = Field("gelu", description="non-linearity everywhere in the network")
    init: Init = Field("dirac", description=f"of the convolutions. {INIT}")
    whitening: WhiteningConfig = WhiteningConfig(kernel_size=2)
    channels: tuple[Width, ...] = Field(
        (64, 256, 256), min_length=1, max_length=4, description="channels per group"
    )
    depths: tuple[GroupDepth, ...] = Field(
        (2,), min_length=1, description="convolutions per group: one number, or one for each group"
    )
    shortcut: bool = Field(
        False, description="whether a group's first output is added before its last activation"
    )
    norm: Norm = BatchNormConfig(scale=False, momentum=0.4, eps=1e-12)
    logit_scale: PositiveFloat | None = Field(
        None, description="factor on the logits; null: 1 / (input width of the head)"
    )

    @property
    def group_depths(self) -> tuple[int, ...]:
        """Convolutions of each group."""
        return self.depths * len(self.channels) if len(self.depths) == 1 else self.depths

    @field_validator("depths", mode="before")
    @classmethod
    def _as_tuple(cls, depths: Any) -> Any:
        return as_tuple(depths)

    @model_validator(mode="after")
    def _depths_fit(self) -> "AirbenchConfig":
        if len(self.group_depths) != len(self.channels):
            raise ValueError(
                f"depths names {len(self.group_depths)} groups, channels {len(self.channels)}: "
                "give each as many entries, or one depth for all"
            )
        if self.shortcut and min(self.group_depths) < 2:
            raise ValueError("a shortcut needs depths of at least 2")
        return self

    @builds_on_meta
    def build(self, image_shape: tuple[int, int, int], classes: int) -> "nn.Module":
        """Build it. Raises RecipeError where a normalisation does not fit the channels."""
        from cifarlab.models.airbench_modules import AirbenchNet

        return AirbenchNet(self, image_shape, classes)
