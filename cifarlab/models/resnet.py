"""Settings of residual networks for small images."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cifarlab.config.base import Fraction, PositiveFloat, Width, refuse_idle
from cifarlab.models import configs

if TYPE_CHECKING:
    from torch import nn

ResidualStep = Literal["conv", "norm", "act", "dropout", "add"]
Steps = tuple[ResidualStep, ...]


class ResNetConfig(configs.LayeredConfig):
    """Residual network for small images (no pooling in the stem; He et al. 2016a, 2016b).

    Where the order starts with a convolution, the stem is convolution, normalisation and
    activation. Otherwise, in pre-activation (He et al. 2016b), the stem is the convolution alone,
    the steps before the first convolution also follow the last block, and the shortcut's
    convolution has the same input as the branch's first one.
    """

    kind: Literal["resnet"] = "resnet"
    any_image_size: ClassVar[bool] = True
    head_init: configs.LinearInit | None = Field(
        None, description="of the linear layer; null: as init"
    )
    stem_width: Width = Field(64, description="channels of the first convolution")
    stem_kernel_size: Literal[1, 3, 5, 7] = Field(3, description="its side in pixels")
    conv_bias: bool = Field(
        False, description="whether convolutions have a bias; without normalisation they do"
    )
    block: Literal["basic", "bottleneck"] = Field(
        "basic",
        description="basic: two 3x3 convolutions; bottleneck: 1x1, 3x3 and 1x1, the last to four "
        "times the channels",
    )
    order: Steps = Field(
        ("conv", "norm", "act", "dropout", "conv", "norm", "add", "act"),
        description="a block's layers and the addition of its shortcut; where it has two "
        "convolutions, a bottleneck goes twice from behind the first to the second",
    )
    depths: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (2, 2, 2, 2), min_length=1, description="blocks per stage"
    )
    channels: configs.Widths = Field(
        (64, 128, 256, 512), description="channels of each stage's 3x3 convolutions"
    )
    strides: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(
        (1, 2, 2, 2), description="stride of each stage's first block"
    )
    shortcut: bool = Field(
        True, description="whether blocks add what comes in; without, the network is a plain one"
    )
    shortcut_kernel_size: Literal[1, 3] = Field(
        1, description="kernel of the convolution on a shortcut whose shape changes"
    )
    input_norm: bool = Field(
        False, description="whether the image's channels are normalised before the first layer"
    )
    whitening: configs.WhiteningConfig = configs.WhiteningConfig()
    dropout: configs.Dropouts = Field(
        (0.0,),
        min_length=1,
        description="probability of zeroing an activation where the order has dropout: one "
        "number, or one for each stage",
    )
    head_dropout: Fraction = Field(0.0, description="the same before the linear layer")
    weight_standardization: bool = Field(
        False,
        description="whether each filter is used with mean 0 and unit power, times a trained gain "
        "(Brock et al. 2021, arXiv:2101.08692)",
    )
    alpha: PositiveFloat = Field(
        0.2,
        description="factor on the branches of a normalizer-free network, which is one with norm "
        "none and standardised weights (Brock et al. 2021, arXiv:2101.08692)",
    )

    @property
    def order_parts(self) -> tuple[Steps, Steps, Steps]:
        """The order before the first convolution, from there to the addition, and after it.

        Where a bottleneck's order has just two convolutions, the steps behind the first up to the
        second are repeated.

        Raises:
            ValueError: for a wrong number of convolutions, or an addition in a wrong position
        """
        order, convolutions = self.order, 2 if self.block == "basic" else 3
        conv_indices = [index for index, step in enumerate(order) if step == "conv"]
        if len(conv_indices) not in {2, convolutions}:
            expected = "two" if convolutions == 2 else "two or three"
            raise ValueError(f"order needs {expected} convolutions, not {len(conv_indices)}")
        if order.count("add") != 1 or order.index("add") < conv_indices[-1]:
            raise ValueError("order needs one add, after its last convolution")
        first, second = conv_indices[0], conv_indices[1] + 1
        repeated = order[first + 1 : second] * (convolutions - len(conv_indices))
        add = order.index("add")
        return order[:first], order[first:second] + repeated + order[second:add], order[add + 1 :]

    @property
    def dropouts(self) -> tuple[float, ...]:
        """The dropout of each stage."""
        return configs.repeat_single(self.dropout, len(self.depths))

    @property
    def normalizer_free(self) -> bool:
        """Whether branches are scaled as in Brock et al. 2021 (arXiv:2101.08692)."""
        return not self.norm.normalizes and self.weight_standardization

    @model_validator(mode="after")
    def _stages_agree(self) -> "ResNetConfig":
        if not len(self.depths) == len(self.channels) == len(self.strides):
            raise ValueError(
                f"depths, channels and strides name {len(self.depths)}, {len(self.channels)} and "
                f"{len(self.strides)} stages: give each as many entries"
            )
        if len(self.dropouts) != len(self.depths):
            raise ValueError(
                f"dropout names {len(self.dropout)} stages, depths {len(self.depths)}: give each "
                "as many entries, or one value for all"
            )
        return self

    @model_validator(mode="after")
    def _order_fits(self) -> "ResNetConfig":
        _, _, after = self.order_parts
        self._require_step_dropout(self.dropout, self.order)
        self._require_step_norm((*self.order, *["norm"] * self.input_norm), "order")
        if not self.shortcut:
            refuse_idle(self, ("shortcut_kernel_size",), "shortcut")
        if self.normalizer_free and not self.shortcut:
            raise ValueError("a normalizer-free network needs its shortcuts")
        if self.normalizer_free and after:
            raise ValueError(
                "a normalizer-free network (norm none, weight_standardization) needs an order that "
                "ends with its addition: e.g. [act, conv, act, conv, add]"
            )
        if not self.normalizer_free and self.alpha != type(self).model_fields["alpha"].default:
            raise ValueError("alpha needs norm.kind none and weight_standardization")
        if self.input_norm and not self.norm.normalizes:
            raise ValueError("input_norm needs another norm.kind than none")
        if self.weight_standardization and self.init == "dirac":
            raise ValueError("weight_standardization would undo init dirac: take another one")
        return self

    def _steps(self) -> list[tuple[str, float]]:
        stages = zip(self.dropouts, self.depths, strict=True)
        return [(step, p) for p, blocks in stages for step in self.order * blocks]

    def build(self, image_shape: configs.Shape, classes: int) -> "nn.Module":
        """Build the network.

        Raises:
            RecipeError: where a normalisation does not fit the channels
        """
        from cifarlab.models.resnet_modules import ResNet

        return ResNet(self, image_shape, classes)
