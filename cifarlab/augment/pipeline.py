"""Augmentation of whole batches of images (N, H, W, C) on their device.

What is done is in ``augment/transforms.py`` and ``augment/colors.py``; here are the draws, each
from a generator named by seed, purpose, epoch and step, so that they are the same on every device
and after every restart. And here the recipe's image sizes are resolved to steps.
"""

import bisect
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from cifarlab.augment.batch_shard import Part
from cifarlab.augment.colors import jitter, saturated, turned_hue
from cifarlab.augment.config import Augment, ResizeStage
from cifarlab.augment.policy import operated
from cifarlab.augment.transforms import crop, cutout, mirror, resampled, shifted, shrunk, turned
from cifarlab.system.errors import RecipeError
from cifarlab.system.randomness import derived_seed, generator
from cifarlab.system.transfer import sent

__all__ = ["Augmentation", "Sizes", "pixels_at", "shrunk", "sizes_by_step"]

Sizes = tuple[tuple[int, int], ...]  # (first step, pixels), by step


def sizes_by_step(sizes: Sequence[ResizeStage], steps_per_epoch: int, total_steps: int) -> Sizes:
    """The recipe's ``augment.progressive_resize`` as (first step, pixels), ascending.

    ``total_steps`` is the length that shares of the run are of. Raises RecipeError where one does
    not start later than the one before it.
    """
    stages = [(size.start.in_steps(steps_per_epoch, total_steps), size.pixels) for size in sizes]
    for place, ((before, _), (first, _)) in enumerate(pairwise(stages)):
        if first <= before:
            raise RecipeError(
                f"augment.progressive_resize: '{sizes[place + 1].start}' is step {first}, not after "
                f"'{sizes[place].start}', which is step {before}",
                "list the sizes by their start, each later than the one before",
            )
    return tuple(stages)


def pixels_at(stages: Sizes, step: int) -> int | None:
    """Side of the training images at ``step``, counted from 0; None: as they are."""
    begun = bisect.bisect_right([first for first, _ in stages], step)
    return stages[begun - 1][1] if begun else None


class Augmentation:
    """The recipe's ``augment`` part, ready to be applied to any batch of any epoch.

    ``image_shape`` is (H, W, C). Raises RecipeError for what such images are too small for: a
    reflection, a cutout, or one of ``augment.progressive_resize`` (which are applied elsewhere, by step); and
    for changed colours where they are grey.
    """

    def __init__(self, config: Augment, image_shape: tuple[int, int, int], seed: int) -> None:
        self.config = config
        self.seed = seed
        smallest = min(image_shape[:2])
        if config.crop.padding_mode == "reflect" and config.crop.padding >= smallest:
            raise RecipeError(
                f"augment.crop.padding={config.crop.padding} can't be reflected in images of "
                f"{smallest} pixels",
                f"take at most {smallest - 1}, or augment.crop.padding_mode=constant",
            )
        if config.cutout >= smallest:
            raise RecipeError(
                f"augment.cutout={config.cutout} leaves nothing of images of {smallest} pixels",
                f"take at most {smallest - 1}",
            )
        if image_shape[2] == 1 and (config.color_jitter.saturation or config.color_jitter.hue):
            raise RecipeError(
                "augment.color_jitter.saturation and hue change nothing in grey images",
                "leave them at 0",
            )
        for place, size in enumerate(config.progressive_resize):
            if size.pixels > smallest:
                raise RecipeError(
                    f"augment.progressive_resize.{place}.pixels={size.pixels} is larger than the images, which "
                    f"have {smallest} pixels",
                    f"take at most {smallest}; images are never enlarged",
                )

    def __call__(
        self,
        images: Tensor,
        indices: Tensor,
        epoch: int,
        step: int,
        places: Tensor | None = None,
    ) -> Tensor:
        """Augment one batch: ``indices`` (N,), on the CPU, are its images' places in the split.

        uint8 (N, H, W, C) in 0..255 -> the same, or float32 where the recipe turns or zooms without
        a policy, jitters or adds noise; the last two may leave that range. All of the recipe's but
        ``mix`` and ``progressive_resize``. Where ``images`` are a part of the batch, ``places`` (n,) says which.
        """
        config, part = self.config, Part(len(indices), places)
        images = self._placed(images, indices, epoch, step, part)
        images = operated(config.policy, config.fill_mode, images, self.seed, epoch, step, part)
        images = self._coloured(images, epoch, step, part)
        if config.cutout:
            corners = self.corners((part.whole, *images.shape[1:3]), epoch, step)
            images = cutout(images, sent(part.of(corners), images.device), config.cutout)
        return images

    def _placed(self, images: Tensor, indices: Tensor, epoch: int, step: int, part: Part) -> Tensor:
        """Crop, rotation with zoom and shift, flips."""
        config, device = self.config, images.device
        shape = (part.whole, *images.shape[1:3])
        padding = config.crop.padding
        if padding:
            draws = generator(self.seed, "crop", epoch, step)
            offsets = torch.randint(0, 2 * padding + 1, (part.whole, 2), generator=draws)
            images = crop(images, sent(part.of(offsets), device), padding, config.crop.padding_mode)
        if config.degrees or config.scale:
            maps = turned(*map(part.of, self.moves(shape, epoch, step)))
            images = resampled(images, sent(maps, device), config.fill_mode)
        elif config.translate:
            *_, offsets = self.moves(shape, epoch, step)
            images = shifted(images, sent(part.of(offsets), device), config.fill_mode)
        if config.hflip != "none":
            images = mirror(images, sent(part.of(self.flips(indices, epoch, step)), device))
        if config.vflip:
            draws = generator(self.seed, "flip vertical", epoch, step)
            chosen = torch.rand(part.whole, generator=draws) < 0.5
            images = mirror(images, sent(part.of(chosen), device), axis=1)
        return images

    def _coloured(self, images: Tensor, epoch: int, step: int, part: Part) -> Tensor:
        """Jitter, noise."""
        config, device = self.config, images.device
        if config.color_jitter.brightness_shift or config.color_jitter.contrast:
            shifts, factors = map(part.of, self.jitters(part.whole, epoch, step))
            images = jitter(images, sent(shifts, device), sent(factors, device))
        if config.color_jitter.saturation or config.color_jitter.hue:
            factors, turns = map(part.of, self.recolourings(part.whole, epoch, step))
            images = saturated(images, sent(factors, device))
            images = turned_hue(images, sent(turns, device))
        if config.gaussian_noise.sigma:
            draws = generator(self.seed, "noise", epoch, step)
            noise = torch.randn(part.whole, *images.shape[1:], generator=draws)
            images = images + sent(part.of(noise) * (255 * config.gaussian_noise.sigma), device)
        return images

    def moves(self, shape: tuple[int, ...], epoch: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Each image's angle in degrees (N,), zoom (N,) and shift, int64 (N, 2), down and right.

        ``shape`` is (N, H, W). Uniform, the shift before it is rounded to whole pixels: Keras'
        ``height_shift_range`` and ``width_shift_range``, which it resembles, blur by parts of one.
        """
        config, (count, *sides) = self.config, shape
        angles, zooms = (
            _both_ways(count, generator(self.seed, purpose, epoch, step))
            for purpose in ("rotation", "zoom")
        )
        draws = generator(self.seed, "shift", epoch, step)
        shifts = [_both_ways(count, draws) * config.translate * side for side in sides]
        offsets = torch.stack(shifts, 1).round().to(torch.int64)
        return angles * config.degrees, 1 + zooms * config.scale, offsets

    def jitters(self, count: int, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Each image's shift, uniform in 0 ± brightness, and factor, in 1 ± contrast: (N,) both."""
        draws = generator(self.seed, "jitter", epoch, step)
        shift, factor = torch.rand(2, count, generator=draws) * 2 - 1
        return shift * self.config.color_jitter.brightness_shift, 1 + factor * self.config.color_jitter.contrast

    def recolourings(self, count: int, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Each image's factor, uniform in 1 ± saturation, and turn, in 0 ± hue: (N,) both."""
        draws = generator(self.seed, "colour", epoch, step)
        factors, turns = _both_ways(count, draws), _both_ways(count, draws)
        return 1 + factors * self.config.color_jitter.saturation, turns * self.config.color_jitter.hue

    def corners(self, shape: tuple[int, ...], epoch: int, step: int) -> Tensor:
        """Top and left of each image's grey square, int64 (N, 2); ``shape`` is (N, H, W).

        Every place inside the image is as likely; without ``cutout_inside``, every centre.
        """
        draws, side = generator(self.seed, "cutout", epoch, step), self.config.cutout
        count, *sides = shape
        if self.config.cutout_inside:
            places = [torch.randint(0, n - side + 1, (count,), generator=draws) for n in sides]
        else:
            places = [torch.randint(0, n, (count,), generator=draws) - side // 2 for n in sides]
        return torch.stack(places, 1)

    def flips(self, indices: Tensor, epoch: int, step: int) -> Tensor:
        """Which images of a batch are mirrored, bool (N,).

        Alternating: each image's side in epoch 0 follows from the seed and its place in the split;
        it changes with every epoch.
        """
        if self.config.hflip == "random":
            draws = generator(self.seed, "flip", epoch, step)
            return torch.rand(len(indices), generator=draws) < 0.5
        first_side = _hashed(indices + derived_seed(self.seed, "first side") % 2**32) % 2
        return (first_side + epoch) % 2 == 1


def _both_ways(count: int, draws: torch.Generator) -> Tensor:
    """Uniform in -1..1, float32 (N,)."""
    return torch.rand(count, generator=draws) * 2 - 1


def _hashed(numbers: Tensor) -> Tensor:
    """Well-mixed non-negative int64 of int64 (the finaliser of splitmix64, Steele et al. 2014)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        numbers = (numbers ^ (numbers >> shift)) * factor
    return (numbers ^ (numbers >> 31)) & (2**63 - 1)
