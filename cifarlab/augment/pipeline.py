"""Apply the recipe's augmentation to batches of images (N, H, W, C), on their device.

The recipe's progressive image sizes are resolved to steps here, too.
"""

import bisect
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from cifarlab.augment.config import Augment, ResizeStage
from cifarlab.augment.draws import BatchDraws
from cifarlab.config.plugins import plugin_errors
from cifarlab.system.errors import RecipeError

Sizes = tuple[tuple[int, int], ...]  # (first step, pixels), by step


def sizes_by_step(sizes: Sequence[ResizeStage], steps_per_epoch: int, total_steps: int) -> Sizes:
    """Return the recipe's ``augment.progressive_resize`` as (first step, pixels), ascending.

    Args:
        sizes: the recipe's stages
        steps_per_epoch: the length of an epoch
        total_steps: the length of the run, for starts that are a fraction of it

    Raises:
        RecipeError: a stage does not start after the one before it
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
    """The recipe's ``augment`` part, to be applied to any batch of any epoch.

    Args:
        config: the recipe's part
        image_shape: (H, W, C)
        seed: the run's seed

    Raises:
        RecipeError: such images can't be changed so: they are too small for a reflection, a cutout
            or a size of ``augment.progressive_resize``, or are grey and have no saturation or hue
    """

    def __init__(self, config: Augment, image_shape: tuple[int, int, int], seed: int) -> None:
        self.config, self.seed = config, seed
        self.pipeline = config.pipeline()
        for key, augmentation in self.pipeline.items():
            try:
                augmentation.check(image_shape)
            except RecipeError as error:
                raise RecipeError(f"augment.{key}: {error.what}", error.hint) from error
        smallest = min(image_shape[:2])
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
        """Augment one batch by all of the recipe's ``augment`` but mix and progressive_resize.

        Args:
            images: this process's images, uint8 (n, H, W, C)
            indices: indices in the split of all images of the batch, int64 (N,), on the CPU
            epoch: the epoch, from 0
            step: the step in the epoch, from 0
            shard_indices: this process's images in the batch, int64 (n,) on the CPU; None: all

        Returns:
            Images (n, H, W, C), uint8, or float32 where the recipe turns or scales without a
            policy, jitters colours or adds noise; the last two may leave 0..255.

        Raises:
            RecipeError: a kind returns another shape or type
        """
        draws = BatchDraws(self.seed, epoch, step, indices, shard_indices, images.device)
        for augmentation in self.pipeline.values():
            purpose = f"augmentation {augmentation.kind}"
            with plugin_errors(augmentation):
                outputs = augmentation.apply(images, replace(draws, purpose=purpose))
                same_shape = outputs.shape == images.shape
            if not same_shape or outputs.dtype not in (torch.uint8, torch.float32):
                raise RecipeError(
                    f"augmentation {augmentation.kind} makes {outputs.dtype} {[*outputs.shape]} of "
                    f"images {[*images.shape]}",
                    "apply must keep their shape and return uint8 or float32",
                )
            images = outputs
        return images
