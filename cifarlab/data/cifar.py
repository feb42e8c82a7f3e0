"""The official CIFAR-10 and CIFAR-100 archives (Krizhevsky 2009), "python version".

Images are checked and turned from vectors, channel by channel, into (N, 32, 32, 3). Files in that
layout whose images, labels or class names are not the published ones are read too, but do not carry
the published name.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from cifarlab.data.archives import Member
from cifarlab.data.array_splits import Arrays, write_arrays
from cifarlab.data.cifar_pickles import REPACKED_HINT, load, text
from cifarlab.data.dataset import Decoded, Decoding
from cifarlab.system.errors import DataError


@dataclass(frozen=True)
class Labels:
    """One kind of labels: where batches and the meta file keep them and their classes' names."""

    key: str
    class_key: str
    classes: int
    published: dict[str, str]  # split -> content_hash


@dataclass(frozen=True)
class Kind:
    """One of the two data sets: which files it has and what they hold."""

    name: str
    archive: str
    md5: str
    size: int
    folder: str
    meta: str
    files: dict[str, str]  # file name -> split, in the order of the images
    labels: dict[str, Labels]  # by label mode


KINDS = TypeAdapter(dict[str, Kind]).validate_json(
    Path(__file__).with_name("cifar.json").read_bytes()
)


def recognize(path: str) -> Kind | None:
    """Recognize from one member's path whether it belongs to an official archive."""
    parent = PurePosixPath(path).parent.name
    return next((kind for kind in KINDS.values() if kind.folder == parent), None)


def recognize_folder(folder: Path) -> Kind | None:
    """Recognize whether a folder is an extracted official archive, whatever its name."""
    for kind in KINDS.values():
        if all((folder / name).is_file() for name in (kind.meta, next(iter(kind.files)))):
            return kind
    return None


def refuse_label_mode(label_mode: str, source: str) -> None:
    """Raise DataError where labels other than the plain ones are asked of a source without."""
    if label_mode != "fine":
        what = f"{source} has one kind of labels, so data.label_mode={label_mode} can't be had"
        raise DataError(what, "leave out data.label_mode; only cifar100 has coarse labels")


def decode_cifar(
    kind: Kind, source: Path, members: Iterable[Member], decoding: Decoding
) -> Decoded:
    """Write the splits of an official archive or its extracted folder.

    It is called CIFAR-10 or CIFAR-100 where all that is there was published so, else by its path.
    A missing test file is no fault. Raises DataError for anything else that is missing or not as
    published, OSError if the folder can't be written.
    """
    if decoding.label_mode not in kind.labels:
        refuse_label_mode(decoding.label_mode, str(source))
    expected = kind.labels[decoding.label_mode]
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    classes: tuple[str, ...] = ()
    for member in members:
        path, where = PurePosixPath(member.path), f"{source}: {member.path}"
        if member.is_folder or path.parent.name not in ("", kind.folder):
            continue
        if path.name == kind.meta:
            classes = _class_names(load(member.read(), where), expected, where)
        elif path.name in kind.files:
            batches[path.name] = _parse_batch(load(member.read(), where), expected, where)
    missing = [] if classes else [kind.meta]
    missing += [n for n, split in kind.files.items() if split == "train" and n not in batches]
    if missing:
        raise DataError(f"{source} lacks {', '.join(missing)}", REPACKED_HINT)
    splits, image_names = {}, {}
    for split in sorted({kind.files[name] for name in batches}):
        files = [name for name, its_split in kind.files.items() if its_split == split]
        images, labels = zip(*(batches[name] for name in files), strict=True)
        splits[split] = np.concatenate(images), np.concatenate(labels)
        image_names[split] = [
            f"{name}[{k}]" for name in files for k in range(len(batches[name][1]))
        ]
    published = all(
        content_hash(*pair, classes) == expected.published[split] for split, pair in splits.items()
    )
    name = kind.name if published else str(source.resolve())
    suffix = f" ({decoding.label_mode})" if len(kind.labels) > 1 else ""
    return write_arrays(name + suffix, Arrays(classes, **splits), decoding, image_names)


def content_hash(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> str:
    """Return a sha256 (hex) over images uint8 (N, H, W, C), labels (N,) and class names.

    The images' order does not matter: copies of CIFAR-100 sorted by class are in use.
    """
    rows = zip(images, labels, strict=True)
    digests = sorted(hashlib.sha256(i.tobytes() + bytes([label])).digest() for i, label in rows)
    return hashlib.sha256(json.dumps(classes).encode() + b"".join(digests)).hexdigest()


def _parse_batch(
    content: dict[str, Any], expected: Labels, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Give images uint8 (N, 32, 32, 3) and labels int64 (N,). Raises DataError."""
    data, numbers = content.get("data"), content.get(expected.key)
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2):
        raise DataError(f"{where} holds no uint8 matrix under 'data'", REPACKED_HINT)
    if data.shape[1] != 3 * 32 * 32 or not len(data):
        raise DataError(f"{where} holds data of shape {data.shape}, not (N, 3072)", REPACKED_HINT)
    if not (
        isinstance(numbers, list)
        and len(numbers) == len(data)
        and all(type(number) is int and 0 <= number < expected.classes for number in numbers)
    ):
        what = f"{where} holds no list of {len(data)} labels from 0 to {expected.classes - 1}"
        raise DataError(what, REPACKED_HINT)
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(numbers)


def _class_names(content: dict[str, Any], expected: Labels, where: str) -> tuple[str, ...]:
    names = content.get(expected.class_key)
    if not (
        isinstance(names, list)
        and all(isinstance(name, bytes | str) for name in names)
        and len(set(names)) == len(names) == expected.classes
    ):
        raise DataError(f"{where} holds no list of {expected.classes} class names", REPACKED_HINT)
    return tuple(re.sub(r"\s+", " ", text(name)) for name in names)
