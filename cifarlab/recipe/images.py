"""The recipe's images: which, how they are split and normalised, what happens to them."""

from typing import Annotated, Literal

from pydantic import Field

from cifarlab.recipe.base import Part, Share
from cifarlab.recipe.duration import Duration
from cifarlab.recipe.noise import CleanLabels, LabelNoise


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
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="share of the training images that is trained on, the same of each class; "
        "validation and test stay whole",
    )
    split_seed: int = Field(0, ge=0, description="seed of all cuts, apart from the run's seed")
    noise: LabelNoise = CleanLabels()
    normalisation: Literal["dataset", "half", "unit"] = Field(
        "dataset",
        description="dataset: by channel mean and deviation of the training part; half: "
        "(pixel/255 - 0.5)/0.5; unit: pixel/255",
    )


class Crop(Part):
    """Random crop at the original size after padding."""

    padding: int = Field(0, ge=0, le=32, description="pixels on each side; 0: no crop")
    mode: Literal["zero", "reflect"] = Field("zero", description="what the padding holds")


class Jitter(Part):
    """Random brightness and contrast per image (hiverge/cifar10-speedrun)."""

    brightness: float = Field(
        0.0, ge=0, le=1, description="largest shift of all pixels, as a share of 255"
    )
    contrast: Share = Field(
        0.0, description="largest relative change of the distances from the image's own mean"
    )


class Size(Part):
    """A training size that holds from ``start`` until the next one starts."""

    start: Duration = Field(description="when, counted from the run's start")
    pixels: int = Field(ge=4, le=96, description="side of the training images")


class Augment(Part):
    """What happens to training images, by the batch, on the device, in this order."""

    crop: Crop = Crop()
    flip: Literal["none", "random", "alternating"] = Field(
        "none",
        description="mirror left-right: each image with probability 1/2, or by turns so that "
        "two epochs show both sides (airbench, section 3.6)",
    )
    jitter: Jitter = Jitter()
    cutout: int = Field(
        0, ge=0, le=96, description="side of a square at a random place that is greyed; 0: none"
    )
    sizes: tuple[Size, ...] = Field(
        (),
        description="progressive image size: images are shrunk to these sizes, each from its start "
        "on; before the first, and empty: as they are",
    )
