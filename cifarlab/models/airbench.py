"""Settings of the speed-run network."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cifarlab.config.base import PositiveFloat
from cifarlab.models import configs
from cifarlab.models.norm_configs import BatchNormConfig, Norm

if TYPE_CHECKING:
    from torch import nn

Depths = Annotated[tuple[Annotated[int, Field(ge=1, le=4)], ...], configs.OneOrMore]


class AirbenchConfig(configs.LayeredConfig):
    """Whitening layer, groups of [conv, pool, norm, act, (conv, norm, act) ...], max-pool, head.

    The network of KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498, section 3).
    """

    kind: Literal["airbench"] = "airbench"
    any_image_size: ClassVar[bool] = True
    activation: configs.Activation = "gelu"
    init: configs.Init = Field("dirac", description=f"of the convolutions. {configs.INIT}")
    whitening: configs.WhiteningConfig = configs.WhiteningConfig(kernel_size=2)
    channels: configs.Widths = Field(
        (64, 256, 256), min_length=1, max_length=4, description="channels per group"
    )
    depths: Depths = Field(
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
        return configs.repeat_single(self.depths, len(self.channels))

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

    def build(self, image_shape: configs.Shape, classes: int) -> "nn.Module":
        """Build the network.

        Raises:
            RecipeError: where a normalisation does not fit the channels
        """
        from cifarlab.models.airbench_modules import AirbenchNet

        return AirbenchNet(self, image_shape, classes)
