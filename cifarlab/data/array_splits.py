"""Images and labels that are arrays already: checked, and written as splits."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.system.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from cifarlab.data.dataset import Decoded


class Arrays(NamedTuple):
    """Pairs of images uint8 (N, H, W, C), C 1 or 3, and labels int (N,), 0..K - 1, by split.

    ``classes`` are the K classes' names.
    """

    classes: Sequence[str]
    train: "tuple[np.ndarray, np.ndarray]"
    val: "tuple[np.ndarray, np.ndarray] | None" = None
    test: "tuple[np.ndarray, np.ndarray] | None" = None

    def splits(self) -> "Iterator[tuple[str, np.ndarray, np.ndarray]]":
        """Yield name, images and labels of each split that is there."""
        for split in ("train", "val", "test"):
            if (pair := getattr(self, split)) is not None:
                yield split, *pair


def write_arrays(name: str, arrays: Arrays, policy: ImagePolicy, build: Path) -> "Decoded":
    """Write the splits of ``arrays`` into the folder ``build``, as the policy wants them.

    Raises DataError where they are not as ``Arrays`` says, or the policy refuses them, OSError if
    ``build`` can't be written.
    """
    import numpy as np

    from cifarlab.data.dataset import Decoded, write_split
    from cifarlab.data.images import RefusedError, conform

    classes = tuple(map(str, arrays.classes))
    if len(set(classes)) < max(2, len(classes)):
        raise DataError(f"{name}: {len(classes)} class names", "give two at least, all different")
    for split, images, labels in arrays.splits():
        check_images(images, f"{name}: the {split} images")
        check_labels(labels, len(images), len(classes), f"{name}: the {split} labels")
        try:
            write_split(build, split, conform(images, policy), labels)
        except RefusedError as refused:
            raise DataError(f"{name}: each image {refused.what}", refused.hint) from refused
    missing = np.setdiff1d(np.arange(len(classes)), arrays.train[1])
    if len(missing):
        raise DataError(
            f"{name}: class {classes[missing[0]]!r} has no training image",
            "a class needs training images, or leave it out of the classes",
        )
    return Decoded(name, classes, tuple(split for split, _, _ in arrays.splits()))


def check_images(images: Any, what: str) -> None:
    """Raise DataError where these are no uint8 images (N, H, W, C), of 1 or 3 channels."""
    import numpy as np

    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(
            f"{what} are {kind}, not uint8",
            "give a NumPy array of 0 to 255, e.g. (images * 255).round().astype('uint8') of 0 to 1",
        )
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        channels_first = images.ndim == 4 and images.shape[1] in (1, 3)
        raise DataError(
            f"{what} have the shape {images.shape}, not (N, H, W, C) with C 1 or 3",
            "write images.transpose(0, 2, 3, 1)" if channels_first else "reshape them",
        )
    if not len(images):
        raise DataError(f"{what} are none", "give at least one image of each class")


def check_labels(labels: Any, images: int, classes: int, what: str) -> None:
    """Raise DataError where these are no integers (N,), 0 to K - 1, as many as images."""
    import numpy as np

    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise DataError(f"{what} are {kind}, not integers", "number the classes from 0 on")
    if labels.shape != (images,):
        raise DataError(
            f"{what} have the shape {labels.shape}, the images are {images:,}",
            "give one label for each image, as (N,)",
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{what} go from {labels.min()} to {labels.max()}, the classes from 0 to {classes - 1}",
            "number the classes from 0 on, and name them all",
        )
