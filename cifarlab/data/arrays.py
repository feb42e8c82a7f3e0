"""The source of stored arrays: a folder of them, identified by the hash of their content."""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from cifarlab.data.array_splits import Arrays, check_pair
from cifarlab.data.dataset import SPLITS, Progress
from cifarlab.data.sources import ArraySourceConfig, SourceConfig, SourceInfo
from cifarlab.system.errors import DataError
from cifarlab.system.files import disk_errors, hint_to_read, is_folder, write_text

_FILES = ("images.npy", "labels.npy")


class StoredArrays(ArraySourceConfig):
    """A folder with train/, val/ and test/, each with images.npy and labels.npy; classes.json."""

    kind: Literal["arrays"] = "arrays"
    decides_nothing: ClassVar[frozenset[str]] = frozenset({"folder"})  # the content does
    folder: str = Field(".", min_length=1, description="where they are; relative: as paths are")
    sha256: str | None = Field(None, description="of their content; null: not compared")

    def find(self, progress: Progress | None = None) -> Path:
        """Return the folder, which a relative path names here or under $CIFARLAB_DATA.

        Raises:
            DataError: there is no such folder
        """
        from cifarlab.data.paths import find_path

        return find_path(self.folder, SourceConfig.kinds())

    def relocate(self, folder: Path) -> Self:
        """Return this source, or one in ``arrays/`` of a parent of ``folder`` where it has gone.

        The hash identifies it: so runs find the arrays that were stored beside them after both
        were moved.
        """
        try:
            self.find()
        except DataError:
            for parent in folder.absolute().parents:
                if self.sha256 and is_folder(candidate := _stored_folder(parent, self.sha256)):
                    return self.model_copy(update={"folder": str(candidate)})
        return self

    def read(self) -> Arrays:
        """Map the arrays.

        Raises:
            DataError: they can't be read, or have another hash than ``sha256``
        """
        arrays = _read(self.find())
        if self.sha256 and (actual := content_hash(arrays)) != self.sha256:
            raise DataError(
                f"the arrays in {self.folder} were changed: their SHA-256 is {actual[:12]}..., the "
                f"recipe's {self.sha256[:12]}...",
                "restore them, or store the new ones in another folder",
            )
        return arrays

    def describe(self, label_mode: str) -> SourceInfo:
        """Return what the files say; of missing ones: as of any source."""
        try:
            arrays = _read(self.find())
        except DataError:
            return SourceInfo()
        splits = tuple(split for split, _, _ in arrays.splits())
        images, _ = arrays.train
        return SourceInfo(tuple(images.shape[1:]), len(arrays.classes), len(images), splits)

    def __str__(self) -> str:
        """Return the kind and the start of the hash."""
        return f"arrays {self.sha256[:8]}" if self.sha256 else "arrays"


def store_arrays(folder: Path, data: Any) -> StoredArrays:
    """Store ``data`` in ``folder``/arrays, under its hash, and return the source that reads it.

    Args:
        folder: where ``arrays/`` is made
        data: (images, labels), or two such pairs: of training and test. Images are uint8
            (N, H, W, C), C 1 or 3, or (N, H, W); labels are (N,), integers or strings, which then
            name the classes.

    Raises:
        DataError: the data are not so
        StorageError: the folder can't be written
    """
    arrays = _as_arrays(data)
    sha256 = content_hash(arrays)
    folder = _stored_folder(folder.absolute(), sha256)
    source = StoredArrays(folder=str(folder), sha256=sha256)
    if (folder / "classes.json").exists():  # which is written last
        return source
    with disk_errors(folder):
        for split, *pair in arrays.splits():
            (folder / split).mkdir(parents=True, exist_ok=True)
            for name, array in zip(_FILES, pair, strict=True):
                np.save(folder / split / name, array)
    write_text(folder / "classes.json", json.dumps(list(arrays.classes)))
    return source


def _stored_folder(folder: Path, sha256: str) -> Path:
    return folder / "arrays" / sha256[:16]


def content_hash(arrays: Arrays) -> str:
    """Return a SHA-256 (hex) over the classes, and each split's images and labels."""
    digest = hashlib.sha256(json.dumps(list(arrays.classes)).encode())
    for split, images, labels in arrays.splits():
        digest.update(json.dumps([split, images.shape]).encode())
        digest.update(np.ascontiguousarray(images).data)
        digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _read(folder: Path) -> Arrays:
    try:
        classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        pairs: Any = [
            tuple(np.load(folder / split / name, mmap_mode="r") for name in _FILES)
            if split == "train" or (folder / split).exists()
            else None
            for split in SPLITS
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
    """Number the classes of one or two pairs of images and labels. Raises DataError."""
    pairs = data if isinstance(data, tuple | list) and len(data) == 2 else []
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        pairs = [data]
    if not pairs:
        what = f"data of type {type(data).__name__} is no pair"
        raise DataError(what, "give (images, labels), or two such pairs: of training and test")
    splits = []
    for name, (images, labels) in zip(("training", "test"), pairs, strict=False):
        images, labels = np.asarray(images), np.asarray(labels)
        images = images[..., None] if images.ndim == 3 else images
        if labels.dtype == object and all(isinstance(label, str) for label in labels.flat):
            labels = labels.astype(str)  # as a pandas column has them
        splits.append(check_pair(f"the {name}", images, labels, "iuU"))
    classes = np.unique(splits[0][1])
    if len(classes) < 2:
        raise DataError(f"there is just one class, {classes[0]!s:.60}", "give images of two")
    if len(unknown_labels := np.setdiff1d(splits[-1][1], classes)):
        what = f"class {unknown_labels[0]!s:.60} is in test but not in training"
        raise DataError(what, "a class needs training images")
    train, *test = ((images, np.searchsorted(classes, labels)) for images, labels in splits)
    return Arrays(tuple(map(str, classes.tolist())), train, test=test[0] if test else None)
