"""What a run is: one frozen, typed object that holds every setting which decides the outcome.

No default lives anywhere else in cifarlab. ``description`` of each field is what
``cifarlab recipes keys`` prints. Parts that exist in several kinds (model, optimizer, schedule,
averaging) are tagged by ``kind``; each kind has just its own keys, so that none for another is
ever ignored.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cifarlab.augment.config import Augment
from cifarlab.config.base import Name, Part, Rate, Share, refuse_idle
from cifarlab.config.duration import Duration, Length, WallTime
from cifarlab.data.config import Data
from cifarlab.models.configs import CNNConfig, Model, ResNetConfig
from cifarlab.optim.averaging import Averaging, NoAveraging
from cifarlab.optim.optimizers import SGD, Optimizer, RMSprop
from cifarlab.optim.schedules import Cosine, Plateau, Schedule


class Extension(Part):
    """More training after the planned end (``cifarlab train --extend``)."""

    duration: Length = Field(description="how much longer")
    schedule: Literal["hold", "restart", "stretch"] = Field(
        description="the rate meanwhile: hold the last one, run the schedule once more from its "
        "start, or follow it as if the run had been planned this long"
    )


class Selection(Part):
    """Only the examples of a batch with the largest loss are worth a backward pass."""

    share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of each batch that is trained on; 1: all of it"
    )
    start: Duration = Field(
        Duration.parse("0 of the run"), description="from when on; before, all is trained on"
    )
    pixels: int | None = Field(
        None, ge=4, le=96, description="size at which losses are estimated; null: as trained"
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "Selection":
        if self.share == 1:
            refuse_idle(self, ("start", "pixels"), "a share below 1")
        return self


class Freeze(Part):
    """The network's first stages are no longer trained (Brock et al. 2017, FreezeOut)."""

    start: Duration = Field(description="from when on")
    stages: int = Field(ge=1, description="how many, from the input: see models/stages.py")


class Training(Part):
    """How long and how: everything about the loop that decides the outcome."""

    duration: Length = Field(Duration.parse("30 epochs"), description="length in epochs or steps")
    extensions: tuple[Extension, ...] = Field((), description="continuations after that length")
    batch_size: int = Field(
        128,
        ge=1,
        description="most images per optimizer step: an epoch of n images has ceil(n / this) "
        "batches, as equal as can be",
    )
    micro_batch: int | None = Field(
        None,
        ge=2,
        description="most images per forward and backward pass, whose gradients are added up; a "
        "batch's passes are as equal as can be; batch normalisation sees one alone; null: the "
        "whole batch",
    )
    selection: Selection = Selection()
    freeze: tuple[Freeze, ...] = Field(
        (),
        description="first stages whose weights stay as they are from then on; the passes back "
        "through them are saved",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 arithmetic where the device has it, else float32"
    )
    label_smoothing: Share = Field(0.0, description="share of the target spread over all classes")
    clip_norm: Rate | None = Field(None, description="largest gradient norm; null: no clipping")
    clip_units: Rate | None = Field(
        None,
        description="largest gradient norm of a filter or row as a share of its weights' norm, "
        "but for the last layer (Brock et al. 2021); null: no such clipping",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="epochs without a better validation accuracy after which training ends; null: "
        "it goes to its planned end",
    )
    budget: WallTime | None = Field(
        None,
        description="time by the clock for training and validation, after which training ends, "
        "e.g. '10 min'; such a run can't be repeated exactly; null: no limit",
    )


class Evaluation(Part):
    """How the trained network is judged."""

    checkpoint: Literal["last", "best"] = Field(
        "last", description="which weights the result is measured on; best: by validation accuracy"
    )
    test: bool = Field(
        True,
        description="whether the run opens the test split at its end; false while settings are "
        "still chosen ('cifarlab evaluate' opens it later)",
    )
    views: Literal[1, 2, 6, 10] = Field(
        1,
        description="averaged test-time views: the image; and its mirror; and both shifted in two "
        "directions or in four (ten crops)",
    )
    unsure: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="share of the validation images, the least certain in the first view, that get "
        "the others; so does any other image that is as uncertain; below 1 it needs validation "
        "images and no tta_threshold",
    )
    tta_threshold: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="confidence in the first view below which an image gets the others; null: "
        "the run finds it if unsure is below 1, and all images get them if unsure is 1",
    )

    @model_validator(mode="after")
    def _unsure_needs_views(self) -> "Evaluation":
        if self.unsure < 1 and self.views == 1:
            raise ValueError(
                f"unsure={self.unsure:g} gives some images further views, but views is 1: "
                "take views=2, 6 or 10, or unsure=1"
            )
        if self.tta_threshold is not None and self.views == 1:
            raise ValueError(
                f"tta_threshold={self.tta_threshold:g} gives some images further views, but views "
                "is 1: take views=2, 6 or 10, or tta_threshold=null"
            )
        if self.tta_threshold is not None and self.unsure < 1:
            raise ValueError(
                f"tta_threshold={self.tta_threshold:g} says which images are unsure, and so does "
                f"unsure={self.unsure:g}: take unsure=1, or tta_threshold=null"
            )
        return self


# parts that exist in several kinds
TAGGED = (
    "data.noise",
    "augment.policy",
    "augment.mix",
    "model",
    "optimizer",
    "schedule",
    "averaging",
)


MOST_SEED = 2**32 - 1


class Recipe(Part):
    """Everything that decides the outcome of a run."""

    name: Name = Field(
        "unnamed", description="a label; the only key that is not in the fingerprint"
    )
    seed: int = Field(0, ge=0, le=MOST_SEED, description="decides every random draw of the run")
    data: Data = Data()
    augment: Augment = Augment()
    model: Model = ResNetConfig()
    optimizer: Optimizer = SGD()
    schedule: Schedule = Cosine()
    averaging: Averaging = NoAveraging()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _selection_needs_validation(self) -> "Recipe":
        if self.evaluation.checkpoint == "best" and self.data.validation == 0:
            raise ValueError(
                "evaluation.checkpoint=best selects by validation, but data.validation is 0: "
                "hold some out, or take evaluation.checkpoint=last"
            )
        if self.training.patience is not None and self.data.validation == 0:
            raise ValueError(
                "training.patience watches the validation accuracy, but data.validation is 0: "
                "hold some out, or leave training.patience out"
            )
        return self

    @model_validator(mode="after")
    def _unsure_needs_validation(self) -> "Recipe":
        unsure = self.evaluation.unsure
        if unsure < 1 and self.data.validation == 0:
            raise ValueError(
                f"evaluation.unsure={unsure:g} is found on validation images, but data.validation "
                "is 0: take evaluation.unsure=1, with evaluation.tta_threshold where only some "
                "images are to get further views, or hold some out"
            )
        return self

    @model_validator(mode="after")
    def _plateau_needs_validation(self) -> "Recipe":
        if isinstance(self.schedule, Plateau) and self.data.validation == 0:
            raise ValueError(
                "schedule.kind=plateau watches the validation loss, but data.validation is 0: "
                "hold some out, or take another schedule"
            )
        return self

    @model_validator(mode="after")
    def _one_size_for_linear_layers(self) -> "Recipe":
        if not isinstance(self.model, CNNConfig):
            return self
        if self.augment.sizes or self.training.selection.pixels is not None:
            raise ValueError(
                "augment.sizes and training.selection.pixels need a network for any image size: "
                "the linear layers of model.kind=cnn take one; take resnet or airbench, or leave "
                "them out"
            )
        return self

    @model_validator(mode="after")
    def _momentum_to_move(self) -> "Recipe":
        if self.schedule.final_momentum is None:
            return self
        momentum = getattr(self.optimizer, "momentum", None)
        # RMSprop's state has no place for a momentum that starts at zero
        if momentum is None or (isinstance(self.optimizer, RMSprop) and not momentum):
            raise ValueError(
                "schedule.final_momentum needs an optimizer with momentum: sgd, muon, or rmsprop "
                "with optimizer.momentum above 0"
            )
        return self
