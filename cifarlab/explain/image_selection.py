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
    """Images uint8 (N, H, W, C), what each is called, and its class number; -1: not known."""

    images: np.ndarray
    names: list[str]
    labels: np.ndarray


def select_held_out(
    folder: RunFolder, recipe: Recipe, progress: Progress | None = None, log: Log | None = None
) -> ImageSet:
    """Select the first held-out image of each of ten classes, evenly spread; else training images.

    ``log`` gets what the data are. Raises DataError or RunFolderError where the images are not
    those of the run.
    """
    opened = open_data(recipe.data, progress, log)
    folder.require_same_data(opened.dataset.fingerprint)
    split = "training" if opened.validation is None else "validation"
    subset = opened.training if opened.validation is None else opened.validation
    classes, first = np.unique(subset.labels[subset.indices], return_index=True)
    chosen = np.linspace(0, len(classes) - 1, min(len(classes), _CLASSES)).astype(int)
    indices = subset.indices[first[chosen]]
    names = [f"{split} {subset.names[index]}" for index in indices]
    return ImageSet(np.array(subset.images[indices]), names, classes[chosen])


def select_mistakes(folder: RunFolder) -> tuple[ImageSet, np.ndarray] | None:
    """Select the worst mistakes that the run kept, of its test split or else of validation.

    With the class that was predicted for each, (N,). None before the run's end, and where it made
    none. Raises RunFolderError.
    """
    for split, split_name in (("test", "test"), ("val", "validation")):
        file = folder.predictions / f"{split}.safetensors"
        if not file.exists():
            continue
        kept = Predictions.read(file)
        rows = kept.mistakes[:_MISTAKES]
        names = [f"{split_name} {kept.mistake_name(number)}" for number in range(len(rows))]
        wrong = ImageSet(kept.mistake_images[:_MISTAKES], names, kept.labels[rows])
        return (wrong, kept.logits[rows].argmax(1)) if len(rows) else None
    return None
