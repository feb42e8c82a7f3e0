"""Which images are explained: held-out ones, the worst mistakes, or files. Never the test split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from cifarlab.data import open_dataset, training_subsets
from cifarlab.data.dataset import Progress
from cifarlab.data.images import RefusedError, decode
from cifarlab.errors import DataError, UserError
from cifarlab.evaluate import Predictor
from cifarlab.recipe import Recipe
from cifarlab.recipe.images import ImagePolicy
from cifarlab.run import Predictions, RunFolder

_CLASSES, _MISTAKES = 10, 9
_LARGEST_FILE = 2**26  # bytes
_FITS = get_args(ImagePolicy.model_fields["fit"].annotation)


@dataclass(frozen=True)
class Shown:
    """Images uint8 (N, H, W, C), what each is called, and its class number; -1: not known."""

    images: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


def held_out(folder: RunFolder, recipe: Recipe, progress: Progress | None = None) -> Shown:
    """The first held-out image of each of ten classes, evenly spread; else training images.

    Raises DataError or RunFolderError where the images are not those of the run.
    """
    data = recipe.data
    dataset = open_dataset(data.source, labels=data.labels, images=data.images, progress=progress)
    folder.require_same_data(dataset.fingerprint)
    training, validation = training_subsets(dataset, data)
    subset, split = (training, "training") if validation is None else (validation, "validation")
    labels = subset.labels[subset.indices]
    classes = np.unique(labels)
    wanted = classes[np.linspace(0, len(classes) - 1, min(len(classes), _CLASSES)).astype(int)]
    places = subset.indices[[int(np.argmax(labels == k)) for k in wanted]]
    names = tuple(f"{split} image {place}" for place in places)
    return Shown(np.array(subset.images[places]), names, wanted.astype(np.int64))


def mistakes(folder: RunFolder) -> tuple[Shown, np.ndarray] | None:
    """The worst mistakes that the run kept, of its test split or else of validation.

    With the class that was predicted for each, (N,). None before the run's end, and where it made
    none. Raises RunFolderError.
    """
    for split, spoken in (("test", "test"), ("val", "validation")):
        file = folder.predictions / f"{split}.safetensors"
        if not file.exists():
            continue
        kept = Predictions.read(file)
        rows = kept.mistakes[:_MISTAKES]
        if not len(rows):
            return None
        names = tuple(f"{spoken} image {place}" for place in kept.indices[rows])
        shown = Shown(kept.mistake_images[: len(rows)], names, kept.labels[rows])
        return shown, kept.logits[rows].argmax(1)
    return None


def files(
    paths: Sequence[Path], predictor: Predictor, policy: ImagePolicy, fit: str | None = None
) -> Shown:
    """Image files, brought to the network's size by ``fit``; None: as the recipe says.

    Raises DataError that names the file, UserError for another ``fit``.
    """
    height, _, channels = predictor.image_shape
    change: dict[str, Any] = {"size": height, "channels": "grey" if channels == 1 else "rgb"}
    if fit is not None:
        if fit not in _FITS:
            raise UserError(f"--fit can't be {fit!r}", f"take {', '.join(_FITS)}")
        change["fit"] = fit
    policy = ImagePolicy.model_validate(policy.model_dump() | change)
    images = [_read(path, policy) for path in paths]
    stacked = np.stack(images).reshape(-1, *predictor.image_shape)
    return Shown(stacked, tuple(path.name for path in paths), np.full(len(paths), -1))


def _read(path: Path, policy: ImagePolicy) -> np.ndarray:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise DataError(f"{path} is larger than 64 MiB", "give an image, not an archive")
        pixels = decode(path.read_bytes(), policy)
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}", "check its name") from error
    except RefusedError as error:
        wrong_size = "is " in error.what and policy.fit == "error"
        hint = "say how to bring it to that size: --fit crop, pad or stretch"
        raise DataError(f"{path} {error.what}", hint if wrong_size else error.hint) from error
    return np.frombuffer(pixels.data, np.uint8)
