"""The recipe's network: one class for each kind."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from cifarlab.config.base import Config, PositiveFloat, Fraction, Width, refuse_idle
from cifarlab.config.family import Family
from cifarlab.models.norm_configs import BatchNorm, Norm
from cifarlab.models.orders import BlockStep, DenseStep, Parts, ResidualStep, in_parts

Depth = Annotated[int, Field(ge=1, le=4)]
Blocks = Annotated[int, Field(ge=1, le=1000)]
Activation = Literal["relu", "relu6", "leaky_relu", "elu", "silu", "gelu"]
Initialisation = Literal["usual", "dirac", "he", "he_uniform", "xavier", "orthogonal"]
BOTTLENECK = 4  # a bottleneck puts out that many times the channels of its 3x3 convolution
_INITIALISATION = (
    "usual: the network's own; dirac: over that, a convolution's first filters pass their input "
    "through unchanged (airbench, section 3.2); he: normal by fan-in (He et al. 2015), he_uniform: "
    "as uniform; xavier: uniform (Glorot & Bengio 2010); orthogonal: Saxe et al. 2014"
)


class Whitening(Config):
    """A fixed first layer that decorrelates small patches (airbench, section 3.1)."""

    kernel: int = Field(
        0, ge=0, le=5, description="side of the patches in pixels; 0: no such layer"
    )
    eps: PositiveFloat = Field(
        5e-4, description="added to the patches' variances before they are divided by"
    )
    images: int = Field(5000, ge=1, description="training images whose patches decide the filters")
    directions: int | None = Field(
        None,
        ge=1,
        description="at most so many principal directions of the patches, the strongest, each with "
        "its negative; null: all",
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "Whitening":
        if not self.kernel:
            refuse_idle(self, ("eps", "images", "directions"), "a kernel above 0")
        return self


class ModelConfig(Family):
    """What all networks share."""

    kind: str
    activation: Activation = Field("relu", description="non-linearity everywhere in the network")
    initialisation: Initialisation = Field("usual", description=_INITIALISATION)
    norm: Norm = BatchNorm()
    max_parameters: int | None = Field(
        None, ge=1, description="a network with more trained parameters is refused; null: any"
    )

    def _needs_place_for_norm(self, places: Sequence[str], names: str) -> None:
        """Refuse settings of a normalisation that no place has. Raises ValueError."""
        usual = type(self).model_fields["norm"].default
        if "norm" not in places and self.norm.kind != "none" and self.norm != usual:
            raise ValueError(
                f"norm is set, but no place has it: put 'norm' into {names}, or leave norm out"
            )

    def _needs_place_for_dropout(self, rates: Sequence[float], places: Sequence[str]) -> None:
        """Refuse a rate of dropout that no place has. Raises ValueError."""
        if any(rates) and "dropout" not in places:
            raise ValueError(
                f"dropout is {max(rates):g}, but no place has it: put 'dropout' into the order, "
                "or leave the rate at 0"
            )


class Residual(ModelConfig):
    """Residual network for small images (no pooling in the stem; He et al. 2016a, 2016b).

    An order that starts with its first convolution has a stem of convolution, normalisation and
    activation. Otherwise the stem is the convolution alone, and what the order has before its
    first convolution once more follows the last block: pre-activation (He et al. 2016b). There
    the shortcut's convolution reads what the branch's first one reads.
    """

    kind: Literal["residual"] = "residual"
    stem: Width = Field(64, description="channels of the first 3x3 convolution")
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
    blocks: tuple[Blocks, ...] = Field((2, 2, 2, 2), min_length=1, description="blocks per stage")
    channels: tuple[Width, ...] = Field(
        (64, 128, 256, 512), description="channels of each stage's 3x3 convolutions"
    )
    strides: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(
        (1, 2, 2, 2), description="stride of each stage's first block"
    )
    shortcut_kernel: Literal[1, 3] = Field(
        1, description="kernel of the convolution on a shortcut whose shape changes"
    )
    input_norm: bool = Field(
        False, description="whether the image's channels are normalised before the first layer"
    )
    whitening: Whitening = Whitening()
    dropout: tuple[Fraction, ...] = Field(
        (0.0,),
        min_length=1,
        description="probability of zeroing an activation where the order has dropout: one "
        "number, or one for each stage",
    )
    head_dropout: Fraction = Field(0.0, description="the same before the dense layer")
    weight_standardisation: bool = Field(
        False,
        description="whether each filter is used with mean 0 and unit power, times a trained gain "
        "(Brock et al. 2021, arXiv:2101.08692)",
    )
    alpha: PositiveFloat = Field(
        0.2,
        description="factor on the branches of a normaliser-free network, which is one with norm "
        "none and standardised weights (Brock et al. 2021, arXiv:2101.08692)",
    )

    @property
    def parts(self) -> Parts:
        """The order as what comes before the first convolution, up to the addition, after it."""
        return in_parts(self.order, 2 if self.block == "basic" else 3)

    @property
    def dropouts(self) -> tuple[float, ...]:
        """The rate of each stage."""
        return self.dropout * len(self.blocks) if len(self.dropout) == 1 else self.dropout

    @property
    def normaliser_free(self) -> bool:
        """Whether branches are scaled as in Brock et al. 2021 (arXiv:2101.08692)."""
        return self.norm.kind == "none" and self.weight_standardisation

    @field_validator("dropout", mode="before")
    @classmethod
    def _one_for_all(cls, dropout: Any) -> Any:
        return one_for_all(dropout)

    @model_validator(mode="after")
    def _stages_agree(self) -> "Residual":
        if not len(self.blocks) == len(self.channels) == len(self.strides):
            raise ValueError(
                f"blocks, channels and strides name {len(self.blocks)}, {len(self.channels)} and "
                f"{len(self.strides)} stages: give each as many entries"
            )
        if len(self.dropouts) != len(self.blocks):
            raise ValueError(
                f"dropout names {len(self.dropout)} stages, blocks {len(self.blocks)}: give each "
                "as many entries, or one rate for all"
            )
        return self

    @model_validator(mode="after")
    def _order_fits(self) -> "Residual":
        parts = self.parts
        self._needs_place_for_dropout(self.dropout, self.order)
        self._needs_place_for_norm((*self.order, *["norm"] * self.input_norm), "order")
        if self.normaliser_free and parts.after:
            raise ValueError(
                "a normaliser-free network (norm none, weight_standardisation) needs an order that "
                "ends with its addition: e.g. [act, conv, act, conv, add]"
            )
        if not self.normaliser_free and self.alpha != type(self).model_fields["alpha"].default:
            raise ValueError("alpha needs norm.kind none and weight_standardisation")
        if self.input_norm and self.norm.kind == "none":
            raise ValueError("input_norm needs another norm.kind than none")
        if self.weight_standardisation and self.initialisation == "dirac":
            raise ValueError(
                "weight_standardisation would undo initialisation dirac: take another one"
            )
        return self


class CNN(ModelConfig):
    """Blocks of convolutions and pools, then dense layers. By default kth2024's tutorial CNN."""

    kind: Literal["cnn"] = "cnn"
    initialisation: Initialisation = Field("he_uniform", description=_INITIALISATION)
    channels: tuple[Width, ...] = Field(
        (32, 64, 128), min_length=1, description="channels per block"
    )
    kernel: Literal[1, 3, 5, 7] = Field(3, description="side of the convolutions in pixels")
    block: tuple[BlockStep, ...] = Field(
        ("conv", "act", "conv", "act", "pool", "dropout"),
        description="the layers of a block; pool: the maximum of 2 x 2 pixels",
    )
    dense: tuple[Width, ...] = Field((128,), description="widths of the hidden dense layers")
    dense_order: tuple[DenseStep, ...] = Field(
        ("dense", "act", "dropout"), description="a hidden dense layer and what goes with it"
    )
    dropout: tuple[Fraction, ...] = Field(
        (0.0,),
        min_length=1,
        description="probability of zeroing an activation where block and dense_order have "
        "dropout: one number, or one for each block and then one for all hidden dense layers or "
        "for each",
    )

    @property
    def dropouts(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The rate of each block, and of each hidden dense layer."""
        blocks, hidden = len(self.channels), len(self.dense)
        if len(self.dropout) == 1:
            return self.dropout * blocks, self.dropout * hidden
        last = self.dropout[blocks:]
        return self.dropout[:blocks], last * hidden if len(last) == 1 else last

    @field_validator("dropout", "dense", mode="before")
    @classmethod
    def _one_for_all(cls, entries: Any) -> Any:
        return one_for_all(entries)

    @model_validator(mode="after")
    def _orders_fit(self) -> "CNN":
        if "conv" not in self.block:
            raise ValueError("block needs a conv")
        if self.dense_order.count("dense") != 1:
            raise ValueError("dense_order needs 'dense' once")
        if not self.dense:
            refuse_idle(self, ("dense_order",), "dense")
        dense_order = self.dense_order if self.dense else ()
        self._needs_place_for_norm((*self.block, *dense_order), "block or dense_order")
        if self.norm.kind == "instance" and "norm" in dense_order:
            raise ValueError(
                "norm.kind instance leaves nothing of a dense layer, whose channels are single "
                "values: take norm out of dense_order, or another kind"
            )
        return self

    @model_validator(mode="after")
    def _dropout_per_place(self) -> "CNN":
        blocks, hidden = len(self.channels), len(self.dense)
        if len(self.dropout) not in (1, blocks + min(hidden, 1), blocks + hidden):
            raise ValueError(
                f"dropout can't be {len(self.dropout)} rates: give one for all, or one for each of "
                f"the {blocks} blocks and then one for all {hidden} hidden dense layers or each"
            )
        if len(self.dropout) == 1:
            everywhere = (*self.block, *(self.dense_order if hidden else ()))
            self._needs_place_for_dropout(self.dropout, everywhere)
        else:
            of_blocks, of_dense = self.dropouts
            self._needs_place_for_dropout(of_blocks, self.block)
            self._needs_place_for_dropout(of_dense, self.dense_order)
        return self


class Speed(ModelConfig):
    """Whitening layer, groups of [conv, pool, norm, act, (conv, norm, act) ...], max-pool, head.

    The network of KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498, section 3).
    """

    kind: Literal["speed"] = "speed"
    activation: Activation = Field("gelu", description="non-linearity everywhere in the network")
    initialisation: Initialisation = Field(
        "dirac", description=f"of the convolutions. {_INITIALISATION}"
    )
    whitening: Whitening = Whitening(kernel=2)
    channels: tuple[Width, ...] = Field(
        (64, 256, 256), min_length=1, max_length=4, description="channels per group"
    )
    depth: tuple[Depth, ...] = Field(
        (2,), min_length=1, description="convolutions per group: one number, or one for each group"
    )
    shortcut: bool = Field(
        False, description="whether a group's first output is added before its last activation"
    )
    norm: Norm = BatchNorm(scale=False, momentum=0.6, eps=1e-12)
    head_scale: PositiveFloat | None = Field(
        None, description="factor on the logits; null: 1 / (input width of the head)"
    )

    @property
    def depths(self) -> tuple[int, ...]:
        """Convolutions of each group."""
        return self.depth * len(self.channels) if len(self.depth) == 1 else self.depth

    @field_validator("depth", mode="before")
    @classmethod
    def _one_for_all(cls, depth: Any) -> Any:
        return one_for_all(depth)

    @model_validator(mode="after")
    def _depths_fit(self) -> "Speed":
        if len(self.depths) != len(self.channels):
            raise ValueError(
                f"depth names {len(self.depths)} groups, channels {len(self.channels)}: give each "
                "as many entries, or one depth for all"
            )
        if self.shortcut and min(self.depths) < 2:
            raise ValueError("a shortcut needs depth of at least 2")
        return self


def one_for_all(entries: Any) -> Any:
    """A single number as a list of one."""
    return (entries,) if isinstance(entries, int | float) else entries


Model = SerializeAsAny[ModelConfig]
