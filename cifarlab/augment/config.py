"""The recipe's augmentation: what happens to training images before they are trained on."""

from typing import Literal

from pydantic import Field, SerializeAsAny, model_validator

from cifarlab.config.base import Config, Fraction, refuse_idle
from cifarlab.config.duration import Duration
from cifarlab.config.family import Family

LEVELS = 30  # magnitudes of the policies go from 0 to this


class Crop(Config):
    """Random crop at the original size after padding."""

    padding: int = Field(0, ge=0, le=32, description="pixels on each side; 0: no crop")
    padding_mode: Literal["constant", "reflect"] = Field(
        "constant", description="what the padding holds"
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "Crop":
        if not self.padding:
            refuse_idle(self, ("padding_mode",), "padding")
        return self


class ColorJitter(Config):
    """Random brightness, contrast (hiverge/cifar10-speedrun), saturation and hue per image."""

    brightness_shift: float = Field(
        0.0, ge=0, le=1, description="largest shift of all pixels, as a fraction of 255"
    )
    contrast: Fraction = Field(
        0.0, description="largest relative change of the distances from the image's own mean"
    )
    saturation: Fraction = Field(
        0.0, description="largest relative change of the distances from each pixel's own grey"
    )
    hue: float = Field(
        0.0, ge=0, le=0.5, description="largest turn of the hue, as a fraction of the colour circle"
    )


class GaussianNoise(Config):
    """Noise added to each value, one draw for each; nothing is clipped."""

    sigma: float = Field(0.0, ge=0, le=1, description="standard deviation, as a fraction of 255")


class PolicyConfig(Family):
    """Operations that are drawn anew for each image."""


class NoPolicy(PolicyConfig):
    """No operations of a policy."""

    kind: Literal["none"] = "none"


class RandAugment(PolicyConfig):
    """Operations drawn anew for each image, all of one magnitude (Cubuk et al. 2020)."""

    kind: Literal["randaugment"] = "randaugment"
    num_ops: int = Field(2, ge=1, le=14, description="operations per image, one after another")
    magnitude: int = Field(9, ge=0, le=LEVELS, description=f"strength, of {LEVELS} levels")


class TrivialAugment(PolicyConfig):
    """One operation per image, of a random strength in a wide range (Müller & Hutter 2021)."""

    kind: Literal["trivialaugment"] = "trivialaugment"


Policy = SerializeAsAny[PolicyConfig]


class MixConfig(Family):
    """How images of a batch are mixed with each other."""


class MixPart(MixConfig):
    """What the ways to mix images have in common."""

    kind: str
    alpha: float = Field(
        1.0,
        gt=0,
        le=100,
        description="the fraction of an image that is its own is Beta(alpha, alpha)",
    )
    prob: float = Field(1.0, gt=0, le=1, description="of a batch to be mixed at all")


class NoMix(MixConfig):
    """Each image for itself."""

    kind: Literal["none"] = "none"


class Mixup(MixPart):
    """Sums of two images and of their losses (Zhang et al. 2018)."""

    kind: Literal["mixup"] = "mixup"


class CutMix(MixPart):
    """A box of one image in another, losses by area (Yun et al. 2019)."""

    kind: Literal["cutmix"] = "cutmix"


Mix = SerializeAsAny[MixConfig]


class ResizeStage(Config):
    """A training size that holds from ``start`` until the next one starts."""

    start: Duration = Field(description="when, counted from the run's start")
    pixels: int = Field(ge=4, le=96, description="side of the training images")


class Augment(Config):
    """What happens to training images, by the batch, on the device.

    In this order, whatever the order of the keys: crop; degrees, scale and translate, in one
    resampling; flips; policy; color_jitter (brightness and contrast, then saturation, then hue);
    gaussian_noise; cutout; mix; progressive_resize.
    """

    crop: Crop = Crop()
    degrees: float = Field(
        0.0, ge=0, le=180, description="largest turn about the centre to either side, in degrees"
    )
    scale: float = Field(
        0.0, ge=0, le=0.9, description="largest relative change of size, smaller or larger"
    )
    translate: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="largest shift down or up, right or left, as a fraction of the side; rounded "
        "to whole pixels",
    )
    fill_mode: Literal["nearest", "constant", "reflect"] = Field(
        "nearest",
        description="what is moved in from outside of an image by degrees, scale, translate and "
        "policy",
    )
    hflip: Literal["none", "random", "alternating"] = Field(
        "none",
        description="mirror left-right: each image with probability 1/2, or by turns so that "
        "two epochs show both sides (airbench, section 3.6)",
    )
    vflip: bool = Field(False, description="mirror top-bottom: each image with probability 1/2")
    policy: Policy = NoPolicy()
    color_jitter: ColorJitter = ColorJitter()
    gaussian_noise: GaussianNoise = GaussianNoise()
    cutout: int = Field(
        0, ge=0, le=96, description="side of a square at a random place that is greyed; 0: none"
    )
    cutout_inside: bool = Field(
        True,
        description="whether that square lies wholly inside; false: its centre does, and the "
        "border may cut it (DeVries & Taylor 2017)",
    )
    mix: Mix = NoMix()
    progressive_resize: tuple[ResizeStage, ...] = Field(
        (),
        description="progressive image size: images are shrunk to these sizes, each from its start "
        "on; before the first, and empty: as they are",
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "Augment":
        if not self.cutout:
            refuse_idle(self, ("cutout_inside",), "cutout")
        moved = self.degrees or self.scale or self.translate or self.policy.kind != "none"
        if not moved:
            refuse_idle(self, ("fill_mode",), "degrees, scale, translate or policy")
        return self
