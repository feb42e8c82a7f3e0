"""Check images and labels that are arrays already, and write them as splits."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cifarlab.data.dataset import SPLITS, DecodeRequest, DecodeResult, write_split
from cifarlab.system.errors import DataError


class Arrays(NamedTuple):
    """Images and labels of each split, and the names of the K classes.

    A split is a pair: images uint8 (N, H, W, C), C 1 or 3, and labels int (N,), 0..K-1.
    """

    classes: Sequence[str]
    train: tuple[np.ndarray, np.ndarray]
    val: tuple[np.ndarray, np.ndarray] | None = None
    test: tuple[np.ndarray, np.ndarray] | None = None

    def splits(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield name, images and labels of each split that is not None."""
        for split in SPLITS:
            if (pair := getattr(self, split)) is not None:
                yield split, *pair


def write_arrays(
    name: str,
    arrays: Arrays,
    request: DecodeRequest,
    image_names: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> DecodeResult:
    """Write the splits of ``arrays``, resized by the request's image policy.

    Args:
        name: what the source is called in messages and reports
        arrays: the splits
        request: the image policy, and the folder that is written to
        image_names: the names of a split's images, by split; without them they have an index

    Raises:
        DataError: the arrays are not as ``Arrays`` says, or the policy refuses them
        OSError: the folder can't be written
    """
    from cifarlab_serve.images import RefusedError, conform_images

    if not isinstance(arrays, Arrays):
        raise DataError(f"{name}: read() gives a {type(arrays).__name__}", "return Arrays(...)")
    classes = tuple(map(str, arrays.classes))
    if len(set(classes)) < max(2, len(classes)):
        raise DataError(f"{name}: {len(classes)} class names", "give two at least, all different")
    for split, images, labels in arrays.splits():
        images, labels = check_pair(f"{name}: the {split}", images, labels)
        if labels.min() < 0 or labels.max() >= len(classes):
            raise DataError(
                f"{name}: the {split} labels go from {labels.min()} to {labels.max()}, the classes "
                f"from 0 to {len(classes) - 1}",
                "number the classes from 0 on, and name them all",
            )
        try:
            images = conform_images(images, request.policy)
            write_split(request.out, split, images, labels, image_names.get(split, ()))
        except RefusedError as refused:
            raise DataError(f"{name}: each image {refused.what}", refused.hint) from refused
    if missing := {*range(len(classes))} - set(np.unique(arrays.train[1]).tolist()):
        what = f"{name}: class {classes[min(missing)]!r} has no training image"
        raise DataError(what, "a class needs training images, or leave it out of the classes")
    return DecodeResult(name, classes, tuple(split for split, _, _ in arrays.splits()))


def check_pair(
    what: str, images: Any, labels: Any, label_types: str = "iu"
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels as arrays.

    Args:
        what: what they are called in messages, such as "the training"
        images: convertible to uint8 (N, H, W, C), C 1 or 3, N above 0
        labels: convertible to an array (N,)
        label_types: the kinds of labels that are taken, as NumPy's letters: i, u, U

    Raises:
        DataError: they have another type or shape
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise DataError(
            f"{what} images are {images.dtype}, not uint8",
            "give a NumPy array of 0 to 255, e.g. (images * 255).round().astype('uint8') of 0 to 1",
        )
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        channels_first = images.ndim == 4 and images.shape[1] in (1, 3)
        raise DataError(
            f"{what} images have the shape {images.shape}, not (N, H, W, C) with C 1 or 3",
            "write images.transpose(0, 2, 3, 1)" if channels_first else "reshape them",
        )
    if not len(images):
        raise DataError(f"{what} images are none", "give at least one image of each class")
    if labels.dtype.kind not in label_types or labels.shape != (len(images),):
        kinds = "an integer" if label_types == "iu" else "an integer or a string"
        raise DataError(
            f"{what} labels are {labels.dtype} of shape {labels.shape}, the images are "
            f"{len(images):,}",
            f"give one label for each image, as (N,): {kinds}",
        )
    return images, labels
