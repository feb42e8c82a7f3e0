"""How a batch is shared out to several processes: who reads what, and what is too little."""

import torch
from torch import Tensor

from cifarlab.data.batch_plan import batch_sizes
from cifarlab.data.loader import Loader
from cifarlab.recipes.schema import Recipe, Training
from cifarlab.system.errors import RecipeError
from cifarlab.system.processes import Processes
from cifarlab.training.step import n_selected


def indices_to_read(recipe: Recipe, processes: Processes, images: int) -> Tensor | None:
    """Return which of a batch of so many images this process reads, ascending; None: all.

    All are read to be mixed with others, or to be selected among them.
    """
    training = recipe.training
    needs_all = recipe.augment.mix.mixes or training.selective_backprop.keep < 1
    if processes.world_size == 1 or needs_all:
        return None
    micro_batches = torch.arange(images).split(batch_sizes(images, training.micro_batch_size))
    return torch.cat([indices[processes.shard(len(indices))] for indices in micro_batches])


def require_enough_images(training: Training, loader: Loader, processes: Processes) -> None:
    """Raise RecipeError where a process would be left without an image of some pass."""
    for batch in sorted(set(loader.batch_sizes)):
        count = n_selected(batch, training.selective_backprop.keep)
        smallest = min(batch_sizes(count, training.micro_batch_size))
        if smallest < processes.world_size:
            raise RecipeError(
                f"a pass over {smallest} of the {batch} images of a batch is too little for "
                f"{processes.world_size} processes: each needs one at smallest",
                "start fewer processes, or change training.batch_size or training.micro_batch_size",
            )
