"""What a run is: one frozen, typed object that holds every setting which decides the outcome.

No default lives anywhere else in cifarlab. ``description`` of each field is what
``cifarlab recipes keys`` prints. Parts that exist in several kinds (model, optimizer, schedule)
are tagged by ``kind``; each kind has just its own keys, so that none for another is ever ignored.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from cifarlab.recipe.duration import Duration

Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=1)]
Activation = Literal["relu", "relu6", "leaky_relu", "elu", "silu", "gelu"]


class Part(BaseModel):
    """Base of all parts of a recipe: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


class ImagePolicy(Part):
    """How a source's files become uint8 images of one size and one number of channels."""

    size: int | None = Field(
        None, ge=8, le=96, description="side of the square images in pixels; null: as they are"
    )
    fit: Literal["error", "crop", "pad", "stretch"] = Field(
        "error",
        description="an image of another size: refuse it by name, scale its short side and crop "
        "the centre, scale its long side and pad with black, or stretch it",
    )
    channels: Literal["auto", "grey", "rgb"] = Field(
        "auto", description="auto: grey if every file is greyscale, else rgb"
    )
    broken: Literal["error", "skip"] = Field(
        "error", description="a file that can't be decoded: stop and name it, or skip and count"
    )


class Data(Part):
    """Which images, and how they are split and normalised."""

    source: str = Field(
        "cifar10",
        min_length=1,
        description="cifar10, cifar100, digits, or a path to a folder or archive; a relative "
        "path is also looked up in $CIFARLAB_DATA",
    )
    labels: Literal["fine", "coarse"] = Field(
        "fine", description="CIFAR-100's 100 classes or its 20 superclasses"
    )
    images: ImagePolicy = ImagePolicy()
    validation: Share = Field(
        0.1, description="share of the training images held out; 0: train on all, select nothing"
    )
    test: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share cut off as test where the source brings no test split"
    )
    split_seed: int = Field(0, ge=0, description="seed of both cuts, apart from the run's seed")
    normalisation: Literal["dataset", "half", "unit"] = Field(
        "dataset",
        description="dataset: by channel mean and deviation of the training part; half: "
        "(pixel/255 - 0.5)/0.5; unit: pixel/255",
    )


class Crop(Part):
    """Random crop at the original size after padding."""

    padding: int = Field(0, ge=0, le=32, description="pixels on each side; 0: no crop")
    mode: Literal["zero", "reflect"] = Field("zero", description="what the padding holds")


class Augment(Part):
    """What happens to training images, by the batch, on the device."""

    crop: Crop = Crop()
    flip: Literal["none", "random", "alternating"] = Field(
        "none",
        description="mirror left-right: each image with probability 1/2, or by turns so that "
        "two epochs show both sides (airbench, section 3.6)",
    )


class ModelPart(Part):
    """What all networks share."""

    kind: str
    activation: Activation = Field("relu", description="non-linearity everywhere in the network")


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


Model = Annotated[Residual | TutorialCNN | ClassicCNN, Field(discriminator="kind")]


class SGD(Part):
    """Stochastic gradient descent with momentum; weight decay as L2 in the gradient."""

    kind: Literal["sgd"] = "sgd"
    rate: Rate = Field(0.1, description="peak learning rate")
    momentum: Share = Field(0.9, description="momentum")
    nesterov: bool = Field(False, description="Nesterov's look-ahead")
    weight_decay: float = Field(0.0, ge=0, description="L2 added to the gradient")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGD":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum above 0")
        return self


class AdamW(Part):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    rate: Rate = Field(1e-3, description="peak learning rate")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="decays of the two moments")
    eps: Rate = Field(1e-8, description="added to the denominator")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")


Optimizer = Annotated[SGD | AdamW, Field(discriminator="kind")]


class SchedulePart(Part):
    """What all schedules share."""

    kind: str
    warmup: Duration = Field(
        Duration.parse("0 epochs"), description="linear rise from 0 to the peak before the rest"
    )


class Constant(SchedulePart):
    """The peak rate throughout."""

    kind: Literal["constant"] = "constant"


class MultiStep(SchedulePart):
    """The rate is multiplied by ``factor`` at each milestone, counted from the run's start."""

    kind: Literal["multistep"] = "multistep"
    milestones: tuple[Duration, ...] = Field(
        (Duration.parse("0.5 of the run"), Duration.parse("0.75 of the run")),
        min_length=1,
        description="when, counted from the run's start",
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="what it is multiplied by")


class Exponential(SchedulePart):
    """The rate is multiplied by ``factor`` after each epoch (fudan, section 2.1)."""

    kind: Literal["exponential"] = "exponential"
    factor: Annotated[float, Field(gt=0, le=1)] = Field(0.9, description="factor per epoch")


class Cosine(SchedulePart):
    """Half a cosine from the peak to ``final`` (Loshchilov & Hutter 2017, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    final: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="rate at the end as a share of the peak"
    )


Schedule = Annotated[Constant | MultiStep | Exponential | Cosine, Field(discriminator="kind")]


def _absolute(duration: Duration) -> Duration:
    if duration.unit == "of the run" or duration.value <= 0:
        raise ValueError(f"'{duration}' is no length: write epochs or steps above 0")
    return duration


Length = Annotated[Duration, AfterValidator(_absolute)]


class Extension(Part):
    """More training after the planned end (``cifarlab train --extend``)."""

    duration: Length = Field(description="how much longer")
    schedule: Literal["hold", "restart", "stretch"] = Field(
        description="the rate meanwhile: hold the last one, run the schedule once more from its "
        "start, or follow it as if the run had been planned this long"
    )


class Training(Part):
    """How long and how: everything about the loop that decides the outcome."""

    duration: Length = Field(Duration.parse("30 epochs"), description="length in epochs or steps")
    extensions: tuple[Extension, ...] = Field((), description="continuations after that length")
    batch_size: int = Field(128, ge=1, description="images per optimizer step")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 arithmetic where the device has it, else float32"
    )
    label_smoothing: Share = Field(0.0, description="share of the target spread over all classes")
    clip_norm: Rate | None = Field(None, description="largest gradient norm; null: no clipping")


class Evaluation(Part):
    """How the trained network is judged."""

    checkpoint: Literal["last", "best"] = Field(
        "last", description="which weights the result is measured on; best: by validation accuracy"
    )
    views: Literal[1, 2, 6] = Field(
        1, description="averaged test-time views: the image, and its mirror, and both shifted"
    )


class Recipe(Part):
    """Everything that decides the outcome of a run."""

    name: str = Field(
        "unnamed",
        min_length=1,
        pattern=r"^[\w.+-]+(/[\w.+-]+)*$",
        description="a label; the only key that is not in the fingerprint",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="decides every random draw of the run")
    data: Data = Data()
    augment: Augment = Augment()
    model: Model = Residual()
    optimizer: Optimizer = SGD()
    schedule: Schedule = Cosine()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, tree: Any) -> Any:
        """A part given without its kind is of the default kind."""
        if not isinstance(tree, Mapping):
            return tree
        fields = cls.model_fields
        return {
            name: {"kind": fields[name].default.kind, **part}
            if name in ("model", "optimizer", "schedule") and isinstance(part, Mapping)
            else part
            for name, part in tree.items()
        }

    @model_validator(mode="after")
    def _selection_needs_validation(self) -> "Recipe":
        if self.evaluation.checkpoint == "best" and self.data.validation == 0:
            raise ValueError(
                "evaluation.checkpoint=best selects by validation, but data.validation is 0: "
                "hold some out, or take evaluation.checkpoint=last"
            )
        return self
