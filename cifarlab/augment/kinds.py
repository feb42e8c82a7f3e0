"""The kinds of augmentation: each makes its random draws and applies them to a batch.

``augment/transforms.py`` moves pixels, ``augment/colors.py`` changes colours.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from cifarlab.augment.policy import NoPolicy, Policy
from cifarlab.config.base import Config, Fraction, refuse_idle
from cifarlab.config.family import Family
from cifarlab.system.errors import RecipeError
from cifarlab.system.randomness import derived_seed

if TYPE_CHECKING:
    from torch import Tensor

    from cifarlab.augment.draws import BatchDraws

# fields that Augment and the kinds have in common
DEGREES: Any = Field(
    0.0, ge=0, le=180, description="largest turn about the centre to either side, in degrees"
)
SCALE: Any = Field(
    0.0, ge=0, le=0.9, description="largest relative change of size, smaller or larger"
)
TRANSLATE: Any = Field(
    0.0,
    ge=0,
    le=0.5,
    description="largest shift down or up, right or left, as a fraction of the side; rounded to "
    "whole pixels",
)
FillMode = Literal["nearest", "constant", "reflect"]
FILL_MODE: Any = Field(
    "nearest",
    description="what is moved in from outside of an image by degrees, scale, translate and policy",
)
CUTOUT_INSIDE: Any = Field(
    True,
    description="whether that square lies wholly inside; false: its centre does, and the border "
    "may cut it (DeVries & Taylor 2017)",
)


class AugmentationConfig(Family):
    """An augmentation: a change of a batch of training images, on their device."""

    @abstractmethod
    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Return changed images (n, H, W, C), uint8 or float32; the given ones stay as they are.

        ``images`` are this process's, uint8 or float32 in 0..255.
        """

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raise RecipeError where images of the shape (H, W, C) can't be changed so."""


class CropSettings(Config):
    """Random crop at the original size after padding."""

    padding: int = Field(0, ge=0, le=32, description="pixels on each side; 0: no crop")
    padding_mode: Literal["constant", "reflect"] = Field(
        "constant", description="what the padding holds"
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "CropSettings":
        if not self.padding:
            refuse_idle(self, ("padding_mode",), "padding")
        return self


class Crop(CropSettings, AugmentationConfig):
    """Random crop at the original size after padding."""

    kind: Literal["crop"] = "crop"

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Check that the padding can be reflected.

        Raises:
            RecipeError: it is as wide as the image
        """
        smallest = min(image_shape[:2])
        if self.padding_mode == "reflect" and self.padding >= smallest:
            what = f"padding={self.padding} can't be reflected in images of {smallest} pixels"
            raise RecipeError(what, f"take at most {smallest - 1}, or padding_mode=constant")

    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Crop each image at its own random position."""
        from cifarlab.augment.transforms import crop

        offsets = draws.take(draws.integers("crop", 2 * self.padding + 1, 2))
        return crop(images, offsets, self.padding, self.padding_mode)


class Affine(AugmentationConfig):
    """Random turn, change of size and shift, in one resampling."""

    kind: Literal["affine"] = "affine"
    degrees: float = DEGREES
    scale: float = SCALE
    translate: float = TRANSLATE
    fill_mode: FillMode = FILL_MODE

    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Transform each image; shift it by whole pixels where none is turned or scaled."""
        from cifarlab.augment.transforms import affine_matrices, translate, warp_affine

        angles, scales, offsets = self.sample(images.shape[1:3], draws)
        if self.degrees or self.scale:
            matrices = draws.take(affine_matrices(angles, scales, offsets))
            return warp_affine(images, matrices, self.fill_mode)
        return translate(images, draws.take(offsets), self.fill_mode) if self.translate else images

    def sample(
        self, sides: tuple[int, ...], draws: "BatchDraws"
    ) -> tuple["Tensor", "Tensor", "Tensor"]:
        """Sample angles in degrees (N,), scales (N,), offsets int64 (N, 2), down and right.

        ``sides`` is (H, W). All are uniform, offsets before they are rounded to whole pixels;
        Keras' ``height_shift_range`` and ``width_shift_range`` don't round, and so blur.
        """
        import torch

        angles = draws.rand_symmetric("rotation") * self.degrees
        scales = 1 + draws.rand_symmetric("zoom") * self.scale
        shifts = [draws.rand_symmetric("shift") * self.translate * n for n in sides]
        return angles, scales, torch.stack(shifts, 1).round().to(torch.int64)


class HFlip(AugmentationConfig):
    """Mirror left-right."""

    kind: Literal["hflip"] = "hflip"
    mode: Literal["random", "alternating"] = Field(
        "random", description="each image with probability 1/2, or by turns"
    )

    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Mirror the images that ``sample`` picks."""
        from cifarlab.augment.transforms import flip

        return flip(images, draws.take(self.sample(draws)))

    def sample(self, draws: "BatchDraws") -> "Tensor":
        """Sample which images of a batch are mirrored, bool (N,).

        Alternating: in epoch 0 the seed and the image's index in the split decide; then it changes
        every epoch.
        """
        if self.mode == "random":
            return draws.rand("flip") < 0.5
        offset = derived_seed(draws.seed, "first side") % 2**32
        return (_hash(draws.indices + offset) % 2 + draws.epoch) % 2 == 1


class VFlip(AugmentationConfig):
    """Mirror top-bottom, each image with probability 1/2."""

    kind: Literal["vflip"] = "vflip"

    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Mirror half of the images, drawn at random."""
        from cifarlab.augment.transforms import flip

        return flip(images, draws.take(draws.rand("flip vertical") < 0.5), axis=1)


class PolicyOperations(AugmentationConfig):
    """A policy's operations, drawn for each image."""

    kind: Literal["policy"] = "policy"
    policy: Policy = NoPolicy()
    fill_mode: FillMode = FILL_MODE

    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Change each image by its own operations: uint8; float images are rounded before."""
        from cifarlab.augment.draws import select_shard
        from cifarlab.augment.operations import apply_operations, to_uint8

        operations = self.policy.operations()
        for round_draws in self.policy.sample(draws.size, draws.generator("policy")):
            ops, strengths = (select_shard(rows, draws.shard_indices) for rows in round_draws)
            images = apply_operations(to_uint8(images), ops, strengths, self.fill_mode, operations)
        return images


class ColorSettings(Config):
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


class ColorJitter(ColorSettings, AugmentationConfig):
    """Random brightness, contrast, saturation and hue per image."""

    kind: Literal["color_jitter"] = "color_jitter"

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Check that the images have the colours that are changed.

        Raises:
            RecipeError: they are grey, and saturation or hue is set
        """
        if image_shape[2] == 1 and (self.saturation or self.hue):
            raise RecipeError("saturation and hue change nothing in grey images", "leave them at 0")

    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Change brightness and contrast, then saturation, then hue; nothing is clipped."""
        from cifarlab.augment import colors

        if self.brightness_shift or self.contrast:
            shifts, factors = map(draws.take, self.sample_brightness_contrast(draws))
            images = colors.adjust_brightness_contrast(images, shifts, factors)
        if self.saturation or self.hue:
            factors, turns = map(draws.take, self.sample_saturation_hue(draws))
            images = colors.adjust_hue(colors.adjust_saturation(images, factors), turns)
        return images

    def sample_brightness_contrast(self, draws: "BatchDraws") -> tuple["Tensor", "Tensor"]:
        """Sample shifts, in 0 ± brightness_shift, and factors, in 1 ± contrast: (N,) both."""
        shift, factor = (draws.rand_symmetric("jitter") for _ in range(2))
        return shift * self.brightness_shift, 1 + factor * self.contrast

    def sample_saturation_hue(self, draws: "BatchDraws") -> tuple["Tensor", "Tensor"]:
        """Sample factors, uniform in 1 ± saturation, and turns, in 0 ± hue: (N,) both."""
        factors, turns = (draws.rand_symmetric("colour") for _ in range(2))
        return 1 + factors * self.saturation, turns * self.hue


class NoiseSettings(Config):
    """Noise added to each value, one draw for each; nothing is clipped."""

    sigma: float = Field(0.0, ge=0, le=1, description="standard deviation, as a fraction of 255")


class GaussianNoise(NoiseSettings, AugmentationConfig):
    """Noise added to each value, one draw for each; nothing is clipped."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"

    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Add the noise: float32."""
        import torch

        shape, generator = (draws.size, *images.shape[1:]), draws.generator("noise")
        return images + draws.take(torch.randn(shape, generator=generator) * (255 * self.sigma))


class Cutout(AugmentationConfig):
    """A square of each image, at a random position, is greyed (DeVries & Taylor 2017)."""

    kind: Literal["cutout"] = "cutout"
    size: int = Field(8, ge=1, le=96, description="side of the square in pixels")
    stay_inside: bool = CUTOUT_INSIDE

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Check that the square is smaller than the image.

        Raises:
            RecipeError: it is as large
        """
        smallest = min(image_shape[:2])
        if self.size >= smallest:
            what = f"a square of {self.size} pixels leaves nothing of images of {smallest} pixels"
            raise RecipeError(what, f"take at most {smallest - 1}")

    def apply(self, images: "Tensor", draws: "BatchDraws") -> "Tensor":
        """Grey out a square of each image."""
        from cifarlab.augment.transforms import cutout

        return cutout(images, draws.take(self.sample(images.shape[1:3], draws)), self.size)

    def sample(self, sides: tuple[int, ...], draws: "BatchDraws") -> "Tensor":
        """Sample top and left of each image's square, int64 (N, 2); ``sides`` is (H, W).

        All positions inside the image are equally likely; without ``stay_inside``, all centres.
        """
        import torch

        lowest = 0 if self.stay_inside else -(self.size // 2)
        counts = [n - self.size + 1 if self.stay_inside else n for n in sides]
        return torch.stack([draws.integers("cutout", n) for n in counts], 1) + lowest


def _hash(numbers: "Tensor") -> "Tensor":
    """Hash int64 to non-negative int64 (the finaliser of splitmix64, Steele et al. 2014)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        numbers = (numbers ^ (numbers >> shift)) * factor
    return (numbers ^ (numbers >> 31)) & (2**63 - 1)
