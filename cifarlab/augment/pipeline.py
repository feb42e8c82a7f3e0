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

from cifarlab.augment.batch_shard import BatchShard
from cifarlab.augment.colors import adjust_brightness_contrast, adjust_hue, adjust_saturation
from cifarlab.augment.config import Augment, ResizeStage
from cifarlab.augment.policy import apply_policy
from cifarlab.augment.transforms import (
    affine_matrices,
    crop,
    cutout,
    downsample,
    flip,
    translate,
    warp_affine,
)
from cifarlab.system.errors import RecipeError
from cifarlab.system.randomness import derived_seed, generator
from cifarlab.system.transfer import sent

__all__ = ["Augmentation", "Sizes", "downsample", "pixels_at", "sizes_by_step"]

Sizes = tuple[tuple[int, int], ...]  # (first step, pixels), by step


def sizes_by_step(sizes: Sequence[ResizeStage], steps_per_epoch: int, total_steps: int) -> Sizes:
    """Return the recipe's ``augment.progressive_resize`` as (first step, pixels), ascending.

    ``total_steps`` is the length that fractions of the run are of. Raises RecipeError where one
    does not start later than the one before it.
    """
    stages = [(size.start.in_steps(steps_per_epoch, total_steps), size.pixels) for size in sizes]
    for index, ((before, _), (first, _)) in enumerate(pairwise(stages)):
        if first <= before:
            raise RecipeError(
                f"augment.progressive_resize: '{sizes[index + 1].start}' is step {first}, not "
                f"after '{sizes[index].start}', which is step {before}",
                "list the sizes by their start, each later than the one before",
            )
    return tuple(stages)


def pixels_at(stages: Sizes, step: int) -> int | None:
    """Return the side of the training images at ``step``, counted from 0; None: as they are."""
    stage = bisect.bisect_right([first for first, _ in stages], step)
    return stages[stage - 1][1] if stage else None


class Augmentation:
    """The recipe's ``augment`` part, ready to be applied to any batch of any epoch.

    ``image_shape`` is (H, W, C). Raises RecipeError for what such images are too small for: a
    reflection, a cutout, or one of ``augment.progressive_resize`` (which are applied elsewhere, by
    step); and for changed colours where they are grey.
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
        for index, size in enumerate(config.progressive_resize):
            if size.pixels > smallest:
                raise RecipeError(
                    f"augment.progressive_resize.{index}.pixels={size.pixels} is larger than the "
                    f"images, which have {smallest} pixels",
                    f"take at most {smallest}; images are never enlarged",
                )

    def __call__(
        self,
        images: Tensor,
        indices: Tensor,
        epoch: int,
        step: int,
        shard_indices: Tensor | None = None,
    ) -> Tensor:
        """Augment one batch: ``indices`` (N,), on the CPU, are its images' indices in the split.

        uint8 (N, H, W, C) in 0..255 -> the same, or float32 where the recipe turns or scales
        without a policy, jitters or adds noise; the last two may leave that range. All of the
        recipe's but ``mix`` and ``progressive_resize``. Where ``images`` are a part of the batch,
        ``shard_indices`` (n,) says which.
        """
        config, shard = self.config, BatchShard(len(indices), shard_indices)
        images = self._transform_geometry(images, indices, epoch, step, shard)
        images = apply_policy(
            config.policy, config.fill_mode, images, self.seed, epoch, step, shard
        )
        images = self._transform_colors(images, epoch, step, shard)
        if config.cutout:
            corners = self.sample_cutout_corners(
                (shard.global_size, *images.shape[1:3]), epoch, step
            )
            images = cutout(images, sent(shard.select(corners), images.device), config.cutout)
        return images

    def _transform_geometry(
        self, images: Tensor, indices: Tensor, epoch: int, step: int, shard: BatchShard
    ) -> Tensor:
        """Crop, rotate, scale and translate, flip."""
        config, device = self.config, images.device
        shape = (shard.global_size, *images.shape[1:3])
        padding = config.crop.padding
        if padding:
            draws = generator(self.seed, "crop", epoch, step)
            offsets = torch.randint(0, 2 * padding + 1, (shard.global_size, 2), generator=draws)
            images = crop(
                images, sent(shard.select(offsets), device), padding, config.crop.padding_mode
            )
        if config.degrees or config.scale:
            matrices = affine_matrices(*map(shard.select, self.sample_affine(shape, epoch, step)))
            images = warp_affine(images, sent(matrices, device), config.fill_mode)
        elif config.translate:
            *_, offsets = self.sample_affine(shape, epoch, step)
            images = translate(images, sent(shard.select(offsets), device), config.fill_mode)
        if config.hflip != "none":
            images = flip(
                images, sent(shard.select(self.sample_hflips(indices, epoch, step)), device)
            )
        if config.vflip:
            draws = generator(self.seed, "flip vertical", epoch, step)
            mask = torch.rand(shard.global_size, generator=draws) < 0.5
            images = flip(images, sent(shard.select(mask), device), axis=1)
        return images

    def _transform_colors(self, images: Tensor, epoch: int, step: int, shard: BatchShard) -> Tensor:
        """Change brightness, contrast, saturation and hue; add noise."""
        config, device = self.config, images.device
        if config.color_jitter.brightness_shift or config.color_jitter.contrast:
            shifts, factors = map(
                shard.select, self.sample_brightness_contrast(shard.global_size, epoch, step)
            )
            images = adjust_brightness_contrast(images, sent(shifts, device), sent(factors, device))
        if config.color_jitter.saturation or config.color_jitter.hue:
            factors, turns = map(
                shard.select, self.sample_saturation_hue(shard.global_size, epoch, step)
            )
            images = adjust_saturation(images, sent(factors, device))
            images = adjust_hue(images, sent(turns, device))
        if config.gaussian_noise.sigma:
            draws = generator(self.seed, "noise", epoch, step)
            noise = torch.randn(shard.global_size, *images.shape[1:], generator=draws)
            images = images + sent(
                shard.select(noise) * (255 * config.gaussian_noise.sigma), device
            )
        return images

    def sample_affine(
        self, shape: tuple[int, ...], epoch: int, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample angles in degrees (N,), scales (N,), offsets int64 (N, 2), down and right.

        ``shape`` is (N, H, W). Uniform, the offset before it is rounded to whole pixels: Keras'
        ``height_shift_range`` and ``width_shift_range``, which it resembles, blur by parts of one.
        """
        config, (count, *sides) = self.config, shape
        angles, scales = (
            _uniform_symmetric(count, generator(self.seed, purpose, epoch, step))
            for purpose in ("rotation", "zoom")
        )
        draws = generator(self.seed, "shift", epoch, step)
        shifts = [_uniform_symmetric(count, draws) * config.translate * side for side in sides]
        offsets = torch.stack(shifts, 1).round().to(torch.int64)
        return angles * config.degrees, 1 + scales * config.scale, offsets

    def sample_brightness_contrast(
        self, count: int, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Sample shifts, uniform in 0 ± brightness, and factors, in 1 ± contrast: (N,) both."""
        draws = generator(self.seed, "jitter", epoch, step)
        shift, factor = torch.rand(2, count, generator=draws) * 2 - 1
        return (
            shift * self.config.color_jitter.brightness_shift,
            1 + factor * self.config.color_jitter.contrast,
        )

    def sample_saturation_hue(self, count: int, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Sample factors, uniform in 1 ± saturation, and turns, in 0 ± hue: (N,) both."""
        draws = generator(self.seed, "colour", epoch, step)
        factors, turns = _uniform_symmetric(count, draws), _uniform_symmetric(count, draws)
        return (
            1 + factors * self.config.color_jitter.saturation,
            turns * self.config.color_jitter.hue,
        )

    def sample_cutout_corners(self, shape: tuple[int, ...], epoch: int, step: int) -> Tensor:
        """Sample top and left of each image's grey square, int64 (N, 2); ``shape`` is (N, H, W).

        Every position inside the image is as likely; without ``cutout_inside``, every centre.
        """
        draws, side = generator(self.seed, "cutout", epoch, step), self.config.cutout
        count, *sides = shape
        if self.config.cutout_inside:
            positions = [torch.randint(0, n - side + 1, (count,), generator=draws) for n in sides]
        else:
            positions = [torch.randint(0, n, (count,), generator=draws) - side // 2 for n in sides]
        return torch.stack(positions, 1)

    def sample_hflips(self, indices: Tensor, epoch: int, step: int) -> Tensor:
        """Sample which images of a batch are mirrored, bool (N,).

        Alternating: each image's side in epoch 0 follows from the seed and its index in the split;
        it changes with every epoch.
        """
        if self.config.hflip == "random":
            draws = generator(self.seed, "flip", epoch, step)
            return torch.rand(len(indices), generator=draws) < 0.5
        first_side = _hash(indices + derived_seed(self.seed, "first side") % 2**32) % 2
        return (first_side + epoch) % 2 == 1


def _uniform_symmetric(count: int, draws: torch.Generator) -> Tensor:
    """Sample uniformly in -1..1, float32 (N,)."""
    return torch.rand(count, generator=draws) * 2 - 1


def _hash(numbers: Tensor) -> Tensor:
    """Hash int64 to non-negative int64 (the finaliser of splitmix64, Steele et al. 2014)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        numbers = (numbers ^ (numbers >> shift)) * factor
    return (numbers ^ (numbers >> 31)) & (2**63 - 1)
