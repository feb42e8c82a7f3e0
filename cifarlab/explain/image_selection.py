"""Which images are explained: held-out ones, or the worst mistakes. Never the test split."""

from typing import NamedTuple

import numpy as np

from cifarlab.data.dataset import Log, Progress
from cifarlab.data.opening import open_data
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions

_CLASSES, _MISTAKES = 10, 9


class ImageSet(NamedTuple):
    """Images uint8 (N, H, W, C), their names, and their class numbers (N,), -1 where unknown."""

    images: np.ndarray
    names: list[str]
    labels: np.ndarray


def select_held_out(
    folder: RunFolder, recipe: Recipe, progress: Progress | None = None, log: Log | None = None
) -> ImageSet:
    """Select the first validation image of each of at most ten classes, evenly spread over these.

    Where the run held nothing out, training images are selected.

    Args:
        folder: of the run
        recipe: the run's
        progress: called while data are downloaded and read
        log: called with a line that describes the data

    Raises:
        DataError: the data can't be opened
        RunFolderError: they are not those of the run
    """
    data = open_data(recipe.data, progress, log)
    folder.require_same_data(data.dataset.fingerprint)
    split = "training" if data.validation is None else "validation"
    subset = data.training if data.validation is None else data.validation
    classes, first = np.unique(subset.labels[subset.indices], return_index=True)
    positions = np.linspace(0, len(classes) - 1, min(len(classes), _CLASSES)).astype(int)
    indices = subset.indices[first[positions]]
    names = [f"{split} {subset.names[index]}" for index in indices]
    return ImageSet(np.array(subset.images[indices]), names, classes[positions])


def select_mistakes(folder: RunFolder) -> tuple[ImageSet, np.ndarray] | None:
    """Return the worst mistakes on the test split, or else on validation, as the run stored them.

    With the predicted classes (N,). None before the run's end, and where it made no mistake.

    Raises:
        RunFolderError: the stored predictions are damaged
    """
    for split, split_name in (("test", "test"), ("val", "validation")):
        file = folder.predictions / f"{split}.safetensors"
        if not file.exists():
            continue
        predictions = Predictions.read(file)
        rows = predictions.mistakes[:_MISTAKES]
        names = [f"{split_name} {predictions.mistake_name(n)}" for n in range(len(rows))]
        images = predictions.mistake_images[:_MISTAKES]
        image_set = ImageSet(images, names, predictions.labels[rows])
        return (image_set, predictions.logits[rows].argmax(1)) if len(rows) else None
    return None
