"""The settings of the recipe's augmentation."""

from typing import Literal

from pydantic import Field, SerializeAsAny, model_validator

from cifarlab.augment import kinds
from cifarlab.augment.kinds import AugmentationConfig
from cifarlab.augment.mixing import Mix, NoMix
from cifarlab.augment.policy import NoPolicy, Policy
from cifarlab.config.base import Config, refuse_idle
from cifarlab.config.duration import Duration


class ResizeStage(Config):
    """A size of the training images, from ``start`` until the next stage starts."""

    start: Duration = Field(description="when, counted from the run's start")
    pixels: int = Field(ge=4, le=96, description="side of the training images")


class Augment(Config):
    """What happens to training images, by the batch, on the device.

    In this order, whatever the order of the keys: crop; degrees, scale and translate, in one
    resampling; flips; policy; color_jitter (brightness and contrast, then saturation, then hue);
    gaussian_noise; cutout; extra; mix; progressive_resize.
    """

    crop: kinds.CropSettings = kinds.CropSettings()
    degrees: float = kinds.DEGREES
    scale: float = kinds.SCALE
    translate: float = kinds.TRANSLATE
    fill_mode: kinds.FillMode = kinds.FILL_MODE
    hflip: Literal["none", "random", "alternating"] = Field(
        "none",
        description="mirror left-right: each image with probability 1/2, or by turns so that "
        "two epochs show both sides (airbench, section 3.6)",
    )
    vflip: bool = Field(False, description="mirror top-bottom: each image with probability 1/2")
    policy: Policy = NoPolicy()
    color_jitter: kinds.ColorSettings = kinds.ColorSettings()
    gaussian_noise: kinds.NoiseSettings = kinds.NoiseSettings()
    cutout: int = Field(
        0, ge=0, le=96, description="side of a square at a random position that is greyed; 0: none"
    )
    cutout_inside: bool = kinds.CUTOUT_INSIDE
    extra: tuple[SerializeAsAny[AugmentationConfig], ...] = Field(
        (), description="further augmentations, your own among them, in this order"
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
        if not (self._is_affine or self.policy.rounds):
            refuse_idle(self, ("fill_mode",), "degrees, scale, translate or policy")
        return self

    @property
    def _is_affine(self) -> bool:
        return bool(self.degrees or self.scale or self.translate)

    def pipeline(self) -> dict[str, AugmentationConfig]:
        """Return the augmentations in the order of their use, each by its key in the recipe.

        ``mix``, which needs labels, and ``progressive_resize`` are not among them.
        """
        affine = {n: getattr(self, n) for n in ("degrees", "scale", "translate", "fill_mode")}
        policy = kinds.PolicyOperations(policy=self.policy, fill_mode=self.fill_mode)
        jitter, noise = dict(self.color_jitter), dict(self.gaussian_noise)
        square = {"size": self.cutout, "stay_inside": self.cutout_inside}
        steps = {
            "crop": kinds.Crop.model_validate(dict(self.crop)) if self.crop.padding else None,
            "degrees": kinds.Affine.model_validate(affine) if self._is_affine else None,
            "hflip": None if self.hflip == "none" else kinds.HFlip(mode=self.hflip),
            "vflip": kinds.VFlip() if self.vflip else None,
            "policy": policy if self.policy.rounds else None,
            "color_jitter": kinds.ColorJitter.model_validate(jitter)
            if any(jitter.values())
            else None,
            "gaussian_noise": kinds.GaussianNoise.model_validate(noise) if noise["sigma"] else None,
            "cutout": kinds.Cutout.model_validate(square) if self.cutout else None,
            **{f"extra.{index}": step for index, step in enumerate(self.extra)},
        }
        return {key: step for key, step in steps.items() if step}
