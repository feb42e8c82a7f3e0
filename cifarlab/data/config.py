"""The recipe's images: which, how they are split and normalized."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cifarlab.config.base import Config, Fraction
from cifarlab.data.arrays import StoredArrays as _StoredArrays  # noqa: F401  a kind
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.label_noise import CleanLabels, LabelNoise
from cifarlab.data.samplers import Sampler, UniformSampler
from cifarlab.data.sources import Cifar10, Source

Normalization = Literal["dataset", "image", "half", "unit"]


class Fold(Config):
    """One of several parts of the training images, of each class as much: it is not trained on."""

    n_splits: int = Field(ge=2, description="how many parts there are")
    index: int = Field(ge=0, description="which one is left out, counted from 0")
    groups: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...] = Field(
        (),
        description="training images, by index in the source, that stay in one part: near-"
        "duplicates, of which one would vouch for the other",
    )

    @model_validator(mode="after")
    def _is_one_of_them(self) -> "Fold":
        if self.index >= self.n_splits:
            raise ValueError(
                f"there is no fold {self.index} of {self.n_splits}: they are counted from 0"
            )
        grouped = [index for group in self.groups for index in group]
        if len(set(grouped)) < len(grouped):
            raise ValueError("an image is in two groups: join them")
        return self


class Data(Config):
    """Which images, and how they are split and normalized."""

    source: Source = Field(
        Cifar10(),
        description="the images: a kind by its name, or the path to a folder or archive; a "
        "relative path is also looked up in $CIFARLAB_DATA",
    )
    label_mode: Literal["fine", "coarse"] = Field(
        "fine", description="CIFAR-100's 100 classes or its 20 superclasses"
    )
    images: ImagePolicy = ImagePolicy()
    val_fraction: Fraction = Field(
        0.1, description="fraction of the training images held out; 0: train on all, select nothing"
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="fraction cut off as test where the source brings no test split"
    )
    train_subset_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="fraction of the training images that is trained on, the same of each class; "
        "validation and test stay whole",
    )
    fold: Fold | None = Field(
        None,
        description="a part of the training images, labels as trained on, that is left out to be "
        "judged by a network that never saw it ('cifarlab audit'); null: all are trained on",
    )
    split_seed: int = Field(0, ge=0, description="seed of all cuts, apart from the run's seed")
    label_noise: LabelNoise = CleanLabels()
    sampler: Sampler = Field(UniformSampler(), description="which images an epoch shows")
    normalization: Normalization = Field(
        "dataset",
        description="dataset: by channel mean and standard deviation of the training part; image: "
        "each by its own mean and standard deviation; half: (pixel/255 - 0.5)/0.5; unit: pixel/255",
    )
