"""Decoded sources: splits of uint8 images, mapped from the cache.

One legend: N images, H height, W width, C channels, K classes. Nothing here imports torch.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.system.errors import DataError

_CHUNK = 1024  # images read at a time
SPLITS = ("train", "val", "test")
# Called with what is being done, how much of it is done, and how much there is if known.
Progress = Callable[[str, int, int | None], None]
# Called with a line for people to read.
Log = Callable[[str], None]


class ImageNames:
    """The names of a split's images, by index; the file is read when the first name is needed.

    A name is the path inside the folder or archive, of CIFAR the published file and the index in
    it. An image without a name is called by its index in the split.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def __getitem__(self, index: int) -> str:
        return self._names[index] if index < len(self._names) else f"index {index}"

    @cached_property
    def _names(self) -> list[str]:
        try:
            return json.loads(self._file.read_text(encoding="utf-8")) if self._file else []
        except (OSError, ValueError):
            return []


@dataclass(frozen=True)
class Subset:
    """A split or a part of it, which shares the split's arrays and copies no image.

    ``images`` uint8 (N, H, W, C), a read-only memory map, ``labels`` int64 (N,), 0..K-1, and
    ``names`` are of the whole split; ``indices`` int64 (n,), ascending, are of the images that
    belong to the part. Its length is n.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    names: ImageNames = ImageNames()  # noqa: RUF009  # never changed

    def __len__(self) -> int:
        return len(self.indices)

    def counts(self, classes: int) -> list[int]:
        """Return the number of the part's images of each class, 0 to ``classes`` - 1."""
        return np.bincount(self.labels[self.indices], minlength=classes).tolist()

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) over the part's images and labels, in their order."""
        digest = hashlib.sha256(self.labels[self.indices].astype("<i8").tobytes())
        for chunk in self.chunks():
            digest.update(chunk.data)
        return digest.hexdigest()

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the part's images (n, H, W, C) in their order, few at once."""
        for start in range(0, len(self), _CHUNK):
            yield self.images[self.indices[start : start + _CHUNK]]


@dataclass(frozen=True)
class Dataset:
    """A decoded source.

    Attributes:
        name: What reports call it.
        source: What the user called it.
        classes: The K class names.
        image_shape: (H, W, C).
        fingerprint: SHA-256 of images, labels and classes of training and validation; the source's
            own test split is not in it.
        skipped: Names of the broken files that ``images.on_bad_images: skip`` left out.
        split_names: The splits that the source brings.
        split_sizes: The number of images of each.
        channels_equal: Whether training and validation images are grey, stored in colour.
        folder: Its entry in the cache.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    fingerprint: str
    skipped: tuple[str, ...]
    split_names: tuple[str, ...]
    split_sizes: dict[str, int]
    channels_equal: bool
    folder: Path = field(compare=False)

    def read(self, split: str) -> Subset:
        """Map a whole split.

        Raises:
            DataError: the source has no such split, or its file is missing or damaged
        """
        if split not in self.split_names:
            what = f"{self.name} ({self.source}) has no {split} split"
            raise DataError(what, f"it brings {' and '.join(self.split_names)}")
        try:
            images = np.load(images_file(self.folder, split), mmap_mode="r")
            labels = np.load(labels_file(self.folder, split))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"the decoded {split} split of {self.name} is missing or damaged: {error}",
                f"delete the folder {self.folder} to have the source decoded again",
            ) from error
        names = ImageNames(names_file(self.folder, split))
        return Subset(images, labels, np.arange(len(labels)), names)


class DecodeRequest(NamedTuple):
    """How a source is to be decoded: labels, images, cache folder, and what gets the progress."""

    label_mode: str
    policy: ImagePolicy
    out: Path
    progress: Progress


class DecodeResult(NamedTuple):
    """What a decoder has written into the folder of the cache."""

    name: str
    classes: tuple[str, ...]
    split_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def images_file(folder: Path, split: str) -> Path:
    """Return the path of a split's images in a cache folder."""
    return folder / f"{split}.images.npy"


def labels_file(folder: Path, split: str) -> Path:
    """Return the path of a split's labels in a cache folder."""
    return folder / f"{split}.labels.npy"


def names_file(folder: Path, split: str) -> Path:
    """Return the path of the names of a split's images in a cache folder."""
    return folder / f"{split}.names.json"


def write_split(
    folder: Path, split: str, images: np.ndarray, labels: np.ndarray, names: Sequence[str] = ()
) -> None:
    """Write one split into a cache folder.

    Args:
        folder: the cache folder
        split: one of ``SPLITS``
        images: uint8 (N, H, W, C)
        labels: integers (N,)
        names: the images' names; empty where they have only an index

    Raises:
        OSError: the folder can't be written
    """
    np.save(images_file(folder, split), np.ascontiguousarray(images, dtype=np.uint8))
    write_labels(folder, split, labels, names)


def write_labels(folder: Path, split: str, labels: np.ndarray, names: Sequence[str]) -> None:
    """Write the labels and names of a split's images.

    The names come from elsewhere and go to terminals, pages and files: what can't be printed in
    them (a control character, a byte that is no UTF-8) is written as an escape, such as \\x1b.

    Args:
        folder: the cache folder
        split: one of ``SPLITS``
        labels: integers (N,)
        names: the images' names; empty where they have only an index

    Raises:
        OSError: the folder can't be written
    """
    np.save(labels_file(folder, split), labels.astype(np.int64))
    printable = [
        name
        if name.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
        for name in names
    ]
    text = json.dumps(printable, ensure_ascii=False)
    names_file(folder, split).write_text(text, encoding="utf-8")
