"""Which images are explained: held-out ones, the worst mistakes, or files. Never the test split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarlab.data.dataset import Log, Progress
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.opening import open_data
from cifarlab.inference.inputs import read_inputs
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions

_CLASSES, _MISTAKES = 10, 9


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 (N, H, W, C), what each is called, and its class number; -1: not known."""

    images: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


def select_held_out(
    folder: RunFolder, recipe: Recipe, progress: Progress | None = None, log: Log | None = None
) -> ImageSet:
    """Select the first held-out image of each of ten classes, evenly spread; else training images.

    ``log`` gets what the data are. Raises DataError or RunFolderError where the images are not
    those of the run.
    """
    opened = open_data(recipe.data, progress, log)
    folder.require_same_data(opened.dataset.fingerprint)
    subset, split = opened.validation, "validation"
    if subset is None:
        subset, split = opened.training, "training"
    labels = subset.labels[subset.indices]
    classes = np.unique(labels)
    class_numbers = classes[
        np.linspace(0, len(classes) - 1, min(len(classes), _CLASSES)).astype(int)
    ]
    indices = subset.indices[[int(np.argmax(labels == k)) for k in class_numbers]]
    names = tuple(f"{split} {subset.names[index]}" for index in indices)
    return ImageSet(np.array(subset.images[indices]), names, class_numbers.astype(np.int64))


def select_mistakes(folder: RunFolder) -> tuple[ImageSet, np.ndarray] | None:
    """Select the worst mistakes that the run kept, of its test split or else of validation.

    With the class that was predicted for each, (N,). None before the run's end, and where it made
    none. Raises RunFolderError.
    """
    for split, split_name in (("test", "test"), ("val", "validation")):
        file = folder.predictions / f"{split}.safetensors"
        if not file.exists():
            continue
        predictions = Predictions.read(file)
        rows = predictions.mistakes[:_MISTAKES]
        if not len(rows):
            return None
        names = tuple(
            f"{split_name} {predictions.mistake_name(number)}" for number in range(len(rows))
        )
        image_set = ImageSet(
            predictions.mistake_images[: len(rows)], names, predictions.labels[rows]
        )
        return image_set, predictions.logits[rows].argmax(1)
    return None


def read_images(paths: Sequence[Path], policy: ImagePolicy) -> ImageSet:
    """Read the images of files, folders and archives. Raises DataError that names the file."""
    inputs = read_inputs(paths, policy)
    return ImageSet(
        inputs.images, tuple(Path(name).name for name in inputs.ids), np.full(len(inputs.ids), -1)
    )
