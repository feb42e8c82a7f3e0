"""The recipe's network: one class for each kind."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from cifarlab.config.base import Config, Fraction, PositiveFloat, Width, refuse_idle
from cifarlab.config.family import Family
from cifarlab.models.norm_configs import BatchNormConfig, Norm
from cifarlab.models.orders import BlockStep, LinearStep, OrderParts, ResidualStep, split_order

GroupDepth = Annotated[int, Field(ge=1, le=4)]
StageDepth = Annotated[int, Field(ge=1, le=1000)]
Activation = Literal["relu", "relu6", "leaky_relu", "elu", "silu", "gelu"]
Init = Literal[
    "default", "dirac", "kaiming_normal", "kaiming_uniform", "xavier_uniform", "orthogonal"
]
BOTTLENECK = 4  # a bottleneck puts out that many times the channels of its 3x3 convolution
_INIT = (
    "default: the network's own; dirac: over that, a convolution's first filters pass their input "
    "through unchanged (airbench, section 3.2); kaiming_normal: normal by fan-in (He et al. 2015), kaiming_uniform: "
    "the same, uniform; xavier_uniform: Glorot & Bengio 2010; orthogonal: Saxe et al. 2014"
)


class WhiteningConfig(Config):
    """A fixed first layer that decorrelates small patches (airbench, section 3.1)."""

    kernel_size: int = Field(
        0, ge=0, le=5, description="side of the patches in pixels; 0: no such layer"
    )
    eps: PositiveFloat = Field(
        5e-4, description="added to the patches' variances before they are divided by"
    )
    images: int = Field(5000, ge=1, description="training images whose patches decide the filters")
    n_components: int | None = Field(
        None,
        ge=1,
        description="at most so many principal directions of the patches, the strongest, each with "
        "its negative; null: all",
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "WhiteningConfig":
        if not self.kernel_size:
            refuse_idle(self, ("eps", "images", "n_components"), "a kernel_size above 0")
        return self


class ModelConfig(Family):
    """What all networks share."""

    kind: str
    activation: Activation = Field("relu", description="non-linearity everywhere in the network")
    init: Init = Field("default", description=_INIT)
    norm: Norm = BatchNormConfig()
    max_parameters: int | None = Field(
        None, ge=1, description="a network with more trained parameters is refused; null: any"
    )

    def _require_step_norm(self, steps: Sequence[str], names: str) -> None:
        """Refuse settings of a normalisation that no layer uses. Raises ValueError."""
        usual = type(self).model_fields["norm"].default
        if "norm" not in steps and self.norm.kind != "none" and self.norm != usual:
            raise ValueError(
                f"norm is set, but no layer uses it: put 'norm' into {names}, or leave norm out"
            )

    def _require_step_dropout(self, rates: Sequence[float], steps: Sequence[str]) -> None:
        """Refuse a rate of dropout that no layer uses. Raises ValueError."""
        if any(rates) and "dropout" not in steps:
            raise ValueError(
                f"dropout is {max(rates):g}, but no layer uses it: put 'dropout' into the order, "
                "or leave the rate at 0"
            )


class ResNetConfig(ModelConfig):
    """Residual network for small images (no pooling in the stem; He et al. 2016a, 2016b).

    An order that starts with its first convolution has a stem of convolution, normalisation and
    activation. Otherwise the stem is the convolution alone, and what the order has before its
    first convolution once more follows the last block: pre-activation (He et al. 2016b). There
    the shortcut's convolution reads what the branch's first one reads.
    """

    kind: Literal["resnet"] = "resnet"
    stem_width: Width = Field(64, description="channels of the first 3x3 convolution")
    block: Literal["basic", "bottleneck"] = Field(
        "basic",
        description="basic: two 3x3 convolutions; bottleneck: 1x1, 3x3 and 1x1, the last to four "
        "times the channels",
    )
    order: tuple[ResidualStep, ...] = Field(
        ("conv", "norm", "act", "dropout", "conv", "norm", "add", "act"),
        description="a block's layers and the addition of its shortcut; where it has two "
        "convolutions, a bottleneck goes twice from behind the first to the second",
    )
    depths: tuple[StageDepth, ...] = Field(
        (2, 2, 2, 2), min_length=1, description="blocks per stage"
    )
    channels: tuple[Width, ...] = Field(
        (64, 128, 256, 512), description="channels of each stage's 3x3 convolutions"
    )
    strides: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(
        (1, 2, 2, 2), description="stride of each stage's first block"
    )
    shortcut_kernel_size: Literal[1, 3] = Field(
        1, description="kernel of the convolution on a shortcut whose shape changes"
    )
    input_norm: bool = Field(
        False, description="whether the image's channels are normalised before the first layer"
    )
    whitening: WhiteningConfig = WhiteningConfig()
    dropout: tuple[Fraction, ...] = Field(
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
    def order_parts(self) -> OrderParts:
        """The order as what comes before the first convolution, up to the addition, after it."""
        return split_order(self.order, 2 if self.block == "basic" else 3)

    @property
    def dropouts(self) -> tuple[float, ...]:
        """The rate of each stage."""
        return self.dropout * len(self.depths) if len(self.dropout) == 1 else self.dropout

    @property
    def normalizer_free(self) -> bool:
        """Whether branches are scaled as in Brock et al. 2021 (arXiv:2101.08692)."""
        return self.norm.kind == "none" and self.weight_standardization

    @field_validator("dropout", mode="before")
    @classmethod
    def _as_tuple(cls, dropout: Any) -> Any:
        return as_tuple(dropout)

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
                "as many entries, or one rate for all"
            )
        return self

    @model_validator(mode="after")
    def _order_fits(self) -> "ResNetConfig":
        order_parts = self.order_parts
        self._require_step_dropout(self.dropout, self.order)
        self._require_step_norm((*self.order, *["norm"] * self.input_norm), "order")
        if self.normalizer_free and order_parts.after:
            raise ValueError(
                "a normalizer-free network (norm none, weight_standardization) needs an order that "
                "ends with its addition: e.g. [act, conv, act, conv, add]"
            )
        if not self.normalizer_free and self.alpha != type(self).model_fields["alpha"].default:
            raise ValueError("alpha needs norm.kind none and weight_standardization")
        if self.input_norm and self.norm.kind == "none":
            raise ValueError("input_norm needs another norm.kind than none")
        if self.weight_standardization and self.init == "dirac":
            raise ValueError("weight_standardization would undo init dirac: take another one")
        return self


class CNNConfig(ModelConfig):
    """Blocks of convolutions and pools, then linear layers. By default kth2024's tutorial CNN."""

    kind: Literal["cnn"] = "cnn"
    init: Init = Field("kaiming_uniform", description=_INIT)
    channels: tuple[Width, ...] = Field(
        (32, 64, 128), min_length=1, description="channels per block"
    )
    kernel_size: Literal[1, 3, 5, 7] = Field(3, description="side of the convolutions in pixels")
    block: tuple[BlockStep, ...] = Field(
        ("conv", "act", "conv", "act", "pool", "dropout"),
        description="the layers of a block; pool: the maximum of 2 x 2 pixels",
    )
    hidden_features: tuple[Width, ...] = Field(
        (128,), description="widths of the hidden linear layers"
    )
    linear_order: tuple[LinearStep, ...] = Field(
        ("linear", "act", "dropout"), description="a hidden linear layer and what goes with it"
    )
    dropout: tuple[Fraction, ...] = Field(
        (0.0,),
        min_length=1,
        description="probability of zeroing an activation where block and linear_order have "
        "dropout: one number, or one for each block and then one for all hidden linear layers or "
        "for each",
    )

    @property
    def dropouts(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The rate of each block, and of each hidden linear layer."""
        blocks, hidden = len(self.channels), len(self.hidden_features)
        if len(self.dropout) == 1:
            return self.dropout * blocks, self.dropout * hidden
        last = self.dropout[blocks:]
        return self.dropout[:blocks], last * hidden if len(last) == 1 else last

    @field_validator("dropout", "hidden_features", mode="before")
    @classmethod
    def _as_tuple(cls, entries: Any) -> Any:
        return as_tuple(entries)

    @model_validator(mode="after")
    def _orders_fit(self) -> "CNNConfig":
        if "conv" not in self.block:
            raise ValueError("block needs a conv")
        if self.linear_order.count("linear") != 1:
            raise ValueError("linear_order needs 'linear' once")
        if not self.hidden_features:
            refuse_idle(self, ("linear_order",), "hidden_features")
        linear_order = self.linear_order if self.hidden_features else ()
        self._require_step_norm((*self.block, *linear_order), "block or linear_order")
        if self.norm.kind == "instance" and "norm" in linear_order:
            raise ValueError(
                "norm.kind instance leaves nothing of a linear layer, whose channels are single "
                "values: take norm out of linear_order, or another kind"
            )
        return self

    @model_validator(mode="after")
    def _dropout_fits(self) -> "CNNConfig":
        blocks, hidden = len(self.channels), len(self.hidden_features)
        if len(self.dropout) not in (1, blocks + min(hidden, 1), blocks + hidden):
            raise ValueError(
                f"dropout can't be {len(self.dropout)} rates: give one for all, or one for each of "
                f"the {blocks} blocks and then one for all {hidden} hidden linear layers or each"
            )
        if len(self.dropout) == 1:
            everywhere = (*self.block, *(self.linear_order if hidden else ()))
            self._require_step_dropout(self.dropout, everywhere)
        else:
            of_blocks, of_linear = self.dropouts
            self._require_step_dropout(of_blocks, self.block)
            self._require_step_dropout(of_linear, self.linear_order)
        return self


class AirbenchConfig(ModelConfig):
    """Whitening layer, groups of [conv, pool, norm, act, (conv, norm, act) ...], max-pool, head.

    The network of KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498, section 3).
    """

    kind: Literal["airbench"] = "airbench"
    activation: Activation = Field("gelu", description="non-linearity everywhere in the network")
    init: Init = Field("dirac", description=f"of the convolutions. {_INIT}")
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
                f"depths names {len(self.group_depths)} groups, channels {len(self.channels)}: give each "
                "as many entries, or one depth for all"
            )
        if self.shortcut and min(self.group_depths) < 2:
            raise ValueError("a shortcut needs depths of at least 2")
        return self


def as_tuple(entries: Any) -> Any:
    """Return a single number as a tuple of one."""
    return (entries,) if isinstance(entries, int | float) else entries


Model = SerializeAsAny[ModelConfig]
