"""The recipe's network: one class for each kind."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cifarlab.recipe.base import Part, Rate, Share, Width

Depth = Annotated[int, Field(ge=1, le=4)]
Activation = Literal["relu", "relu6", "leaky_relu", "elu", "silu", "gelu"]


class BatchNorm(Part):
    """Batch normalisation (Ioffe & Szegedy 2015)."""

    scale: bool = Field(True, description="whether a trained factor per channel follows it")
    momentum: Share = Field(
        0.9, description="share of the running statistics kept at each optimizer step"
    )
    eps: Rate = Field(1e-5, description="added to the variance")


class Whitening(Part):
    """A fixed first layer that decorrelates small patches (airbench, section 3.1)."""

    kernel: int = Field(
        0, ge=0, le=5, description="side of the patches in pixels; 0: no such layer"
    )
    eps: Rate = Field(
        5e-4, description="added to the patches' variances before they are divided by"
    )
    images: int = Field(5000, ge=1, description="training images whose patches decide the filters")
    directions: int | None = Field(
        None,
        ge=1,
        description="at most so many principal directions of the patches, the strongest, each with "
        "its negative; null: all",
    )


class ModelPart(Part):
    """What all networks share."""

    kind: str
    activation: Activation = Field("relu", description="non-linearity everywhere in the network")
    initialisation: Literal["usual", "dirac"] = Field(
        "usual",
        description="of the convolutions: the network's own, or its first filters pass their input "
        "through unchanged (airbench, section 3.2)",
    )


class Residual(ModelPart):
    """Residual network of basic blocks for small images (no pooling in the stem)."""

    kind: Literal["residual"] = "residual"
    stem: Width = Field(64, description="channels of the first 3x3 convolution")
    blocks: tuple[Width, ...] = Field((2, 2, 2, 2), min_length=1, description="blocks per stage")
    channels: tuple[Width, ...] = Field((64, 128, 256, 512), description="channels per stage")
    strides: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(
        (1, 2, 2, 2), description="stride of each stage's first block"
    )
    shortcut_kernel: Literal[1, 3] = Field(
        1, description="kernel of the convolution on a shortcut whose shape changes"
    )
    norm: BatchNorm = BatchNorm()
    whitening: Whitening = Whitening()
    dropout: Share = Field(0.0, description="probability of zeroing an activation")
    dropout_place: Literal["block", "head"] = Field(
        "block", description="after each block's first activation, or before the dense layer"
    )

    @model_validator(mode="after")
    def _stages_agree(self) -> "Residual":
        if not len(self.blocks) == len(self.channels) == len(self.strides):
            raise ValueError(
                f"blocks, channels and strides name {len(self.blocks)}, {len(self.channels)} and "
                f"{len(self.strides)} stages: give each as many entries"
            )
        return self


class TutorialCNN(ModelPart):
    """Blocks of [conv 3x3, act, conv 3x3, act, max-pool 2], two dense layers (kth2022, kth2024)."""

    kind: Literal["tutorial_cnn"] = "tutorial_cnn"
    channels: tuple[Width, ...] = Field(
        (32, 64, 128), min_length=1, max_length=3, description="channels per block"
    )
    dense: Width = Field(128, description="width of the hidden dense layer")
    dropout: tuple[Share, ...] = Field(
        (0.0, 0.0, 0.0, 0.0),
        description="probability after each block's pool and, last, after the hidden dense layer",
    )

    @model_validator(mode="after")
    def _dropout_per_place(self) -> "TutorialCNN":
        if len(self.dropout) != len(self.channels) + 1:
            raise ValueError(
                f"dropout needs {len(self.channels) + 1} rates, one per block and one for the "
                f"dense layer, not {len(self.dropout)}"
            )
        return self


class ClassicCNN(ModelPart):
    """2 x [conv 5x5, act, max-pool 2], then three dense layers (asha2021, section 2.3.2)."""

    kind: Literal["classic_cnn"] = "classic_cnn"
    channels: tuple[Width, Width] = Field((6, 16), description="channels of the convolutions")
    dense: tuple[Width, Width] = Field((120, 84), description="widths of the hidden dense layers")
    dropout: Share = Field(0.0, description="probability after each hidden dense layer")


class Speed(ModelPart):
    """Whitening layer, groups of [conv, pool, norm, act, (conv, norm, act) ...], max-pool, head.

    The network of KellerJordan/cifar10-airbench (Jordan 2024, arXiv:2404.00498, section 3).
    """

    kind: Literal["speed"] = "speed"
    activation: Activation = Field("gelu", description="non-linearity everywhere in the network")
    initialisation: Literal["usual", "dirac"] = Field(
        "dirac",
        description="of the convolutions: PyTorch's default, or their first filters pass their "
        "input through unchanged (airbench, section 3.2)",
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
    norm: BatchNorm = BatchNorm(scale=False, momentum=0.6, eps=1e-12)
    head_scale: Rate | None = Field(
        None, description="factor on the logits; null: 1 / (input width of the head)"
    )

    @property
    def depths(self) -> tuple[int, ...]:
        """Convolutions of each group."""
        return self.depth * len(self.channels) if len(self.depth) == 1 else self.depth

    @field_validator("depth", mode="before")
    @classmethod
    def _one_for_all(cls, depth: Any) -> Any:
        return (depth,) if isinstance(depth, int) else depth

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


Model = Annotated[Residual | TutorialCNN | ClassicCNN | Speed, Field(discriminator="kind")]
