"""The batch plan: a run's batches and micro-batches. Loader, step and schedule read it.

Durations become steps here, once. data/batch_sizes.py has the rule by which images are divided.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from cifarlab.augment.pipeline import pixels_at, sizes_by_step
from cifarlab.config.duration import Duration
from cifarlab.data.batch_sizes import batch_sizes
from cifarlab.optim.schedules import Segment, find_segment
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import RecipeError
from cifarlab.system.processes import SINGLE_PROCESS, Processes


class Epoch(NamedTuple):
    """An epoch's first step, counted from the run's start, and its number of steps."""

    first: int
    steps: int


class Shard(NamedTuple):
    """What this process has of a micro-batch of ``size`` images.

    ``indices`` are of the whole batch; ``start`` is the first of them within the micro-batch.
    """

    start: int
    size: int
    indices: slice


@dataclass(frozen=True)
class BatchPlan:
    """The segments of a run (the planned one, then its extensions), its epochs and their batches.

    Each segment starts a new epoch, so a run that was extended equals one that was planned with
    its extensions; an epoch at a segment's end may have fewer steps than there are ``batch_sizes``.
    ``micro_batch_size`` is the recipe's, or what ``auto`` came to (training/memory_fit.py).
    """

    recipe: Recipe
    batch_sizes: Sequence[int]
    segments: tuple[Segment, ...]
    epochs: tuple[Epoch, ...]
    processes: Processes = SINGLE_PROCESS
    micro_batch_size: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches of a whole epoch."""
        return len(self.batch_sizes)

    @property
    def planned_steps(self) -> int:
        """The steps of the run before any extension; fractions of the run are of these."""
        return self.segments[0].steps

    @property
    def steps(self) -> int:
        """All optimizer steps of the run (S)."""
        return sum(segment.steps for segment in self.segments)

    def in_steps(self, duration: Duration) -> int:
        """Return a duration of the recipe in steps."""
        return duration.in_steps(self.steps_per_epoch, self.planned_steps)

    def segment(self, step: int) -> tuple[int, Segment]:
        """Return the first step of the segment that ``step`` is in, and that segment.

        Raises:
            ValueError: the run has no such step
        """
        return find_segment(self.segments, step)

    @cached_property
    def _sizes(self) -> tuple[tuple[int, int], ...]:
        stages = self.recipe.augment.progressive_resize
        return sizes_by_step(stages, self.steps_per_epoch, self.planned_steps)

    def image_size(self, step: int) -> int | None:
        """Return the side in pixels of the images that ``step`` trains on; None: as they are."""
        return pixels_at(self._sizes, step)

    def n_images(self, step: int) -> int:
        """Return the number of images of the batch of ``step``."""
        epoch = bisect_right(self.epochs, step, key=lambda epoch: epoch.first) - 1
        return self.batch_sizes[step - self.epochs[epoch].first]

    def n_trained(self, step: int, n_images: int) -> int:
        """Return how many of a batch of ``n_images`` are trained on at ``step``."""
        config = self.recipe.training.selective_backprop
        if step < self.in_steps(config.start):
            return n_images
        return min(n_images, max(2, round(config.keep * n_images)))

    def micro_batch_sizes(self, n_images: int) -> list[int]:
        """Return the sizes of the micro-batches of ``n_images``, over all processes."""
        return batch_sizes(n_images, self.micro_batch_size)

    def shards(self, n_images: int) -> list[Shard]:
        """Return what this process has of each micro-batch of ``n_images``."""
        shards, first = [], 0
        for size in self.micro_batch_sizes(n_images):
            part = self.processes.shard(size)
            shards.append(Shard(part.start, size, slice(first + part.start, first + part.stop)))
            first += size
        return shards

    def local_indices(self, n_images: int) -> Tensor | None:
        """Return the indices of the images of a batch that this process reads; None: all.

        int64, ascending. Where images are mixed or hard ones are selected, each process reads all.
        """
        recipe = self.recipe
        needs_all = recipe.augment.mix.mixes or recipe.training.selective_backprop.keep < 1
        if self.processes.world_size == 1 or needs_all:
            return None
        return torch.cat([torch.arange(n_images)[s.indices] for s in self.shards(n_images)])


def plan_batches(recipe: Recipe, images: int, processes: Processes = SINGLE_PROCESS) -> BatchPlan:
    """Return the plan of a run.

    Args:
        recipe: the run's
        images: number of training images
        processes: those of the run, and which of them this one is

    Raises:
        RecipeError: a micro-batch has fewer images than there are processes
    """
    training = recipe.training
    sizes = batch_sizes(images, training.batch_size)
    segments = [Segment(max(1, training.duration.in_steps(len(sizes))), "planned")]
    for more in training.extensions:
        steps = max(1, more.duration.in_steps(len(sizes)))
        segments.append(Segment(steps, more.schedule, more.start))
    epochs, first = [], 0
    for segment in segments:
        end = first + segment.steps
        while first < end:
            epochs.append(Epoch(first, min(len(sizes), end - first)))
            first += epochs[-1].steps
    micro = None if training.micro_batch_size == "auto" else training.micro_batch_size
    plan = BatchPlan(recipe, sizes, tuple(segments), tuple(epochs), processes, micro)
    plan.image_size(0)  # refuses sizes in the wrong order
    for batch in sorted(set(sizes)):
        smallest = min(plan.micro_batch_sizes(plan.n_trained(plan.steps, batch)))
        if smallest < processes.world_size:
            raise RecipeError(
                f"a pass over {smallest} of the {batch} images of a batch is too little for "
                f"{processes.world_size} processes: each needs one at smallest",
                "start fewer processes, or change training.batch_size or training.micro_batch_size",
            )
    return plan
