"""Arrays as a source: stored in a folder, known by the hash of their content."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from cifarlab.data.array_splits import Arrays, check_images
from cifarlab.data.sources import SourceConfig, Usual
from cifarlab.system.errors import DataError, StorageError
from cifarlab.system.files import hint_to_read, write_text

if TYPE_CHECKING:
    from cifarlab.data.dataset import Progress

_FILES = ("images.npy", "labels.npy")


class StoredArrays(SourceConfig):
    """A folder with train/, val/ and test/, each with images.npy and labels.npy; classes.json."""

    kind: Literal["arrays"] = "arrays"
    decides_nothing: ClassVar[frozenset[str]] = frozenset({"folder"})  # the content does
    folder: str = Field(".", min_length=1, description="where they are; relative: as paths are")
    sha256: str | None = Field(None, description="of their content; null: not compared")

    def find(self, progress: "Progress | None" = None) -> Path:
        """Return the folder as given or under $CIFARLAB_DATA. Raises DataError."""
        from cifarlab.data.paths import find_path

        return find_path(self.folder, list(SourceConfig.kinds()))

    def read(self) -> Arrays:
        """Map the arrays. Raises DataError where they are not there or were changed."""
        arrays = _read(self.find())
        if self.sha256 and (actual := content_hash(arrays)) != self.sha256:
            raise DataError(
                f"the arrays in {self.folder} were changed: their SHA-256 is {actual[:12]}..., the "
                f"recipe's {self.sha256[:12]}...",
                "restore them, or store the new ones in another folder",
            )
        return arrays

    def usual(self, label_mode: str) -> Usual:
        """Return what the files say, where they are there."""
        try:
            arrays = _read(self.find())
        except DataError:
            return Usual()
        splits = tuple(split for split, _, _ in arrays.splits())
        images, _ = arrays.train
        return Usual(tuple(images.shape[1:]), len(arrays.classes), len(images), splits)

    def __str__(self) -> str:
        """Return the kind and the start of the hash."""
        return f"arrays {self.sha256[:8]}" if self.sha256 else "arrays"


def store_arrays(folder: Path, data: Any) -> StoredArrays:
    """Store ``data`` in a folder and return the source that reads it.

    ``data`` is (images, labels), or two such pairs: of training and test. Images are uint8 (N, H,
    W, C), C 1 or 3, or (N, H, W); labels (N,) integers or strings, which then name the classes.
    Raises DataError where they are not so, StorageError.
    """
    import numpy as np

    arrays = _as_arrays(data)
    try:
        for split, *pair in arrays.splits():
            (folder / split).mkdir(parents=True, exist_ok=True)
            for name, array in zip(_FILES, pair, strict=True):
                np.save(folder / split / name, array)
    except OSError as error:
        what = f"can't write the arrays to {folder}: {error.strerror or error}"
        raise StorageError(what, "free space, or give another folder") from error
    write_text(folder / "classes.json", json.dumps(list(arrays.classes)))
    return StoredArrays(folder=str(folder), sha256=content_hash(arrays))


def content_hash(arrays: Arrays) -> str:
    """Return a SHA-256 (hex) over the classes, and each split's images and labels."""
    import numpy as np

    digest = hashlib.sha256(json.dumps(list(arrays.classes)).encode())
    for split, images, labels in arrays.splits():
        digest.update(json.dumps([split, images.shape]).encode())
        digest.update(np.ascontiguousarray(images).data)
        digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _read(folder: Path) -> Arrays:
    import numpy as np

    try:
        classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        pairs: Any = [
            tuple(np.load(folder / split / name, mmap_mode="r") for name in _FILES)
            if split == "train" or (folder / split).exists()
            else None
            for split in ("train", "val", "test")
        ]
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"can't read the arrays in {folder}: {error}",
            hint_to_read(error, "store them anew") if isinstance(error, OSError) else "mend it",
        ) from error
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise DataError(f"{folder / 'classes.json'} is no list of names", "name each class")
    return Arrays(classes, *pairs)


def _as_arrays(data: Any) -> Arrays:
    """Number the classes of one or two pairs. Raises DataError."""
    import numpy as np

    pairs = _pairs(data)
    names = ("training", "test")[: len(pairs)]
    checked = []
    for name, (images, labels) in zip(names, pairs, strict=True):
        images, labels = np.asarray(images), np.asarray(labels)
        images = images[..., None] if images.ndim == 3 else images
        check_images(images, f"the {name} images")
        if labels.dtype == object and all(isinstance(label, str) for label in labels.flat):
            labels = labels.astype(str)  # as a pandas column has them
        if labels.dtype.kind not in "iuU" or labels.shape != (len(images),):
            raise DataError(
                f"the {name} labels are {labels.dtype} of shape {labels.shape}, the images are "
                f"{len(images):,}",
                "give one label for each image, as (N,): an integer or a string",
            )
        checked.append((images, labels))
    classes = np.unique(checked[0][1])
    if len(classes) < 2:
        raise DataError(f"there is just one class, {classes[0]!s:.60}", "give images of two")
    for _, labels in checked:
        if len(unknown := np.setdiff1d(labels, classes)):
            raise DataError(
                f"class {unknown[0]!s:.60} is in test but not in training",
                "a class needs training images",
            )
    numbered = [(images, np.searchsorted(classes, labels)) for images, labels in checked]
    train, *test = numbered
    return Arrays(tuple(map(str, classes.tolist())), train, test=test[0] if test else None)


def _pairs(data: Any) -> list[Any]:
    """Return one or two pairs of images and labels. Raises DataError."""
    is_pair = isinstance(data, tuple | list) and len(data) == 2
    if is_pair and all(isinstance(pair, tuple) and len(pair) == 2 for pair in data):
        return list(data)
    if is_pair:
        return [data]
    raise DataError(
        f"data of type {type(data).__name__} is no pair",
        "give (images, labels), or two such pairs: of training and test",
    )
