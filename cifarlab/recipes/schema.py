"""What a run is: one frozen, typed object that holds every setting which decides the outcome.

No default lives anywhere else in cifarlab. ``description`` of each field is what
``cifarlab recipes keys`` prints. Parts that exist in several kinds (model, optimizer, schedule,
averaging) are tagged by ``kind``; each kind has just its own keys, so that none for another is
ever ignored.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cifarlab.augment.config import Augment
from cifarlab.config.base import Config, Name, PositiveFloat, refuse_idle
from cifarlab.config.duration import Duration, Length, WallTime
from cifarlab.config.plugins import ExtensibleConfig
from cifarlab.data.config import Data
from cifarlab.losses.kinds import CrossEntropy, Loss
from cifarlab.metrics.kinds import Accuracy, Metric, MetricConfig
from cifarlab.models.configs import Model, ModelConfig
from cifarlab.models.resnet import ResNetConfig
from cifarlab.optim.averaging import Averaging, NoAveraging
from cifarlab.optim.optimizers import SGD, Optimizer, OptimizerConfig
from cifarlab.optim.schedules import Cosine, Schedule


class Extension(Config):
    """More training after the planned end (``cifarlab train --extend``)."""

    duration: Length = Field(description="how much longer")
    schedule: Literal["hold", "restart", "stretch"] = Field(
        description="the learning rate meanwhile: hold the last one, run the schedule once more "
        "from its start, or follow it as if the run had been planned this long"
    )
    start: Literal["last", "best"] = Field(
        "last",
        description="the weights and the optimizer's state that it goes on from: as training left "
        "them, or those of the best epoch by evaluation.metric",
    )


class SelectiveBackprop(Config):
    """Only the examples of a batch with the largest loss are worth a backward pass."""

    keep: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="fraction of each batch that is trained on; 1: all of it"
    )
    start: Duration = Field(
        Duration.parse("0 of the run"), description="from when on; before, all is trained on"
    )
    image_size: int | None = Field(
        None, ge=4, le=96, description="size at which losses are estimated; null: as trained"
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "SelectiveBackprop":
        if self.keep == 1:
            refuse_idle(self, ("start", "image_size"), "keep below 1")
        return self


class Freeze(Config):
    """The network's first stages are no longer trained (Brock et al. 2017, FreezeOut)."""

    start: Duration = Field(description="from when on")
    stages: int = Field(ge=1, description="how many, from the input: see models/network.py")


class EarlyStopping(Config):
    """Training ends after ``patience`` epochs in a row without a better ``monitor``."""

    monitor: Metric = Field(Accuracy(), description="what is watched, on the validation images")
    patience: int = Field(ge=1, description="epochs without improvement that are borne")

    def scaled(self, scale: float) -> dict[str, Any]:
        """Return what ``Config.scaled`` says."""
        return {"patience": max(1, round(self.patience * scale))}


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Distillation(Config):
    """A trained run, the teacher, whose probabilities are a part of the target."""

    decides_nothing: ClassVar[frozenset[str]] = frozenset({"teacher"})  # its weights do
    teacher: Annotated[str, Field(min_length=1)] = Field(
        description="the folder of a run, such as an ensemble of 'cifarlab combine'"
    )
    weights_sha256: Sha256 = Field(description="SHA-256 of the teacher's weights file")
    temperature: PositiveFloat = Field(
        4.0,
        description="both networks' logits are divided by it; above 1 it shows the teacher's "
        "small probabilities",
    )
    weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="fraction of the loss that is the distance to the teacher; 1: no labels"
    )


class Combination(Config):
    """What 'cifarlab combine' made of finished runs; such a recipe is not trained."""

    members: Annotated[tuple[Sha256, ...], Field(min_length=2)] = Field(
        description="SHA-256 of their weights files"
    )
    other_models: tuple[Model, ...] = Field(
        (), description="the networks of an ensemble's members but the first, which is model"
    )
    method: Literal["ensemble", "soup"] = Field(
        description="ensemble: the mean probabilities of networks; soup: a network of their mean "
        "weights"
    )

    @model_validator(mode="after")
    def _has_all_settings(self) -> "Combination":
        n_others = len(self.members) - 1 if self.method == "ensemble" else 0
        if len(self.other_models) != n_others:
            raise ValueError(
                f"{self.method} of {len(self.members)} members has {n_others} other_models, not "
                f"{len(self.other_models)}: 'cifarlab combine' writes it"
            )
        return self


class Training(Config):
    """How long and how: everything about the loop that decides the outcome."""

    duration: Length = Field(Duration.parse("30 epochs"), description="length in epochs or steps")
    extensions: tuple[Extension, ...] = Field((), description="continuations after that length")
    batch_size: int = Field(
        128,
        ge=1,
        description="most images per optimizer step: an epoch of n images has ceil(n / this) "
        "batches, as equal as can be",
    )
    micro_batch_size: Annotated[int, Field(ge=2)] | Literal["auto"] | None = Field(
        None,
        description="most images per forward and backward pass, whose gradients are added up; a "
        "batch's passes are as equal as can be; batch normalisation sees one alone; null: the "
        "whole batch; auto: without batch normalisation, what a GPU's memory holds",
    )
    selective_backprop: SelectiveBackprop = SelectiveBackprop()
    distillation: Distillation | None = Field(
        None, description="a teacher beside the labels; null: none"
    )
    freeze: tuple[Freeze, ...] = Field(
        (),
        description="first stages whose weights stay as they are from then on; the passes back "
        "through them are saved",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 arithmetic where the device has it, else float32"
    )
    clip_grad_norm: PositiveFloat | None = Field(
        None, description="largest gradient norm; null: no clipping"
    )
    agc: PositiveFloat | None = Field(
        None,
        description="largest gradient norm of a filter or row as a fraction of its weights' norm, "
        "but for the last layer (Brock et al. 2021); null: no such clipping",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="when to end before the planned length; null: it goes to its planned end"
    )
    max_time: WallTime | None = Field(
        None,
        description="time by the clock for training and validation, after which training ends, "
        "e.g. '10 min'; such a run can't be repeated exactly; null: no limit",
    )


class EvaluationConfig(Config):
    """How the trained network is judged."""

    metric: Metric = Field(
        Accuracy(), description="what the best epoch is best by, on the validation images"
    )
    checkpoint: Literal["last", "best"] = Field(
        "last", description="which weights the result is measured on; best: by evaluation.metric"
    )
    test: bool = Field(
        True,
        description="whether the run opens the test split at its end; false while settings are "
        "still chosen ('cifarlab evaluate' opens it later)",
    )
    tta_views: Literal[1, 2, 6, 10] = Field(
        1,
        description="averaged test-time views: the image; and its mirror; and both shifted in two "
        "directions or in four (ten crops)",
    )
    tta_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="fraction of the validation images, the least certain in the first view, that "
        "get the others; so does any other image that is as uncertain; below 1 it needs validation "
        "images and no tta_threshold",
    )
    tta_threshold: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="confidence in the first view below which an image gets the others; null: "
        "the run finds it if tta_fraction is below 1, and all images get them if tta_fraction is 1",
    )

    @model_validator(mode="after")
    def _tta_needs_views(self) -> "EvaluationConfig":
        for name, default in (("tta_fraction", 1), ("tta_threshold", None)):
            if self.tta_views == 1 and (value := getattr(self, name)) != default:
                raise ValueError(
                    f"{name}={value:g} gives some images further views, but tta_views is 1: take "
                    f"tta_views=2, 6 or 10, or {name}={default or 'null'}"
                )
        if self.tta_threshold is not None and self.tta_fraction < 1:
            raise ValueError(
                f"tta_threshold={self.tta_threshold:g} says which images are unsure, and so does "
                f"tta_fraction={self.tta_fraction:g}: take tta_fraction=1, or tta_threshold=null"
            )
        return self


MAX_SEED = 2**32 - 1


class Recipe(ExtensibleConfig):
    """Everything that decides the outcome of a run."""

    decides_nothing: ClassVar[frozenset[str]] = frozenset({"name"})
    name: Name = Field(
        "unnamed", description="a label; the only key that is not in the fingerprint"
    )
    seed: int = Field(0, ge=0, le=MAX_SEED, description="decides every random draw of the run")
    data: Data = Data()
    augment: Augment = Augment()
    model: Model = ResNetConfig()
    loss: Loss = CrossEntropy()
    optimizer: Optimizer = SGD()
    schedule: Schedule = Cosine()
    averaging: Averaging = NoAveraging()
    training: Training = Training()
    evaluation: EvaluationConfig = EvaluationConfig()
    combination: Combination | None = Field(
        None, description="what the network was made of, where it was not trained; null: trained"
    )

    @property
    def other_models(self) -> tuple[ModelConfig, ...]:
        """Return the networks of an ensemble's members but the first; of any other run none."""
        return self.combination.other_models if self.combination else ()

    @property
    def metrics(self) -> list[MetricConfig]:
        """Return the metrics that decide something in a run, each once."""
        early_stopping = self.training.early_stopping
        deciding: list[MetricConfig | None] = [
            self.evaluation.metric,
            early_stopping.monitor if early_stopping else None,
            self.schedule.watched_metric if self.schedule.needs_validation else None,
        ]
        return list({metric.name: metric for metric in deciding if metric}.values())

    @model_validator(mode="after")
    def _parts_fit(self) -> "Recipe":
        for what, instead in self._find_needs_of_validation():
            if self.data.val_fraction == 0:
                raise ValueError(f"{what}, but data.val_fraction is 0: hold some out, or {instead}")
        for fault in self._find_misfits():
            raise ValueError(fault)
        return self

    def _find_needs_of_validation(self) -> Iterator[tuple[str, str]]:
        """Yield what needs validation images, and what to do where there are none."""
        if self.evaluation.checkpoint == "best":
            yield "evaluation.checkpoint=best selects by validation", "take checkpoint=last"
        if self.training.early_stopping:
            yield "training.early_stopping watches validation images", "leave it out"
        if self.evaluation.tta_fraction < 1:
            yield (
                f"evaluation.tta_fraction={self.evaluation.tta_fraction:g} is found on validation "
                "images",
                "take evaluation.tta_fraction=1, with evaluation.tta_threshold where only some "
                "images are to get further views",
            )
        if any(extension.start == "best" for extension in self.training.extensions):
            yield "an extension from the best epoch needs one", "take start=last"
        if self.schedule.needs_validation:
            yield f"schedule.kind={self.schedule.kind} watches validation images", "take another"

    def _find_misfits(self) -> Iterator[str]:
        """Yield the parts that don't fit together."""
        if self.augment.mix.mixes and not self.loss.mixes:
            yield (
                f"loss.kind={self.loss.kind} has no meaning for mixed images (its class has "
                "mixes = False, docs/extend.md): take another loss, or augment.mix.kind=none"
            )
        resizes = self.augment.progressive_resize or self.training.selective_backprop.image_size
        if resizes and not self.model.any_image_size:
            yield (
                "augment.progressive_resize and training.selective_backprop.image_size need a "
                f"network for any image size: model.kind={self.model.kind} takes one; take "
                f"{_alternatives(ModelConfig, 'any_image_size')}, or leave them out"
            )
        if self.schedule.final_momentum is not None and self.optimizer.peak_momentum is None:
            yield (
                "schedule.final_momentum needs an optimizer with momentum above 0: "
                f"{_alternatives(OptimizerConfig, 'peak_momentum')}"
            )


def _alternatives(family: Any, name: str) -> str:
    """Return the kinds whose ``name`` differs from their family's, in words."""
    default = getattr(family, name)
    return " or ".join(k for k, c in family.kinds().items() if getattr(c, name) is not default)
