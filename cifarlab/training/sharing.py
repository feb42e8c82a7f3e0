"""How a batch is shared out to several processes: who reads what, and what is too little."""

import torch
from torch import Tensor

from cifarlab.augment.config import NoMix
from cifarlab.data.batch_plan import batch_sizes
from cifarlab.data.loader import Loader
from cifarlab.recipes.schema import Recipe, Training
from cifarlab.system.errors import RecipeError
from cifarlab.system.processes import Processes
from cifarlab.training.step import selected


def places_read(recipe: Recipe, processes: Processes, images: int) -> Tensor | None:
    """The places that this process reads of a batch of so many images, ascending; None: all.

    All are read to be mixed with others, or to be selected among them.
    """
    training = recipe.training
    mixes = not isinstance(recipe.augment.mix, NoMix)
    if processes.count == 1 or mixes or training.selection.share < 1:
        return None
    pieces = torch.arange(images).split(batch_sizes(images, training.micro_batch))
    return torch.cat([piece[processes.part(len(piece))] for piece in pieces])


def require_enough_images(training: Training, loader: Loader, processes: Processes) -> None:
    """Raise RecipeError where a process would be left without an image of some pass."""
    for batch in sorted(set(loader.batch_sizes)):
        trained = selected(batch, training.selection.share)
        least = min(batch_sizes(trained, training.micro_batch))
        if least < processes.count:
            raise RecipeError(
                f"a pass over {least} of the {batch} images of a batch is too little for "
                f"{processes.count} processes: each needs one at least",
                "start fewer processes, or change training.batch_size or training.micro_batch",
            )
