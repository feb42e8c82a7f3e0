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

from cifarlab.data.archives import Member
from cifarlab.data.array_splits import Arrays, write_arrays
from cifarlab.data.cifar_pickles import REPACKED_HINT, load, text
from cifarlab.data.dataset import Decoded
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.system.errors import DataError


@dataclass(frozen=True)
class Kind:
    """One of the two data sets: which files it has and under which keys they keep what."""

    name: str
    archive: str
    md5: str
    size: int
    folder: str
    files: dict[str, str]  # file name -> split, in the order of the images
    meta: str
    label_keys: dict[str, str]  # fine/coarse -> key in a batch
    class_keys: dict[str, str]  # fine/coarse -> key in the meta file
    class_counts: dict[str, int]
    published: dict[tuple[str, str], str]  # (fine/coarse, split) -> content_hash


CIFAR10 = Kind(
    name="CIFAR-10",
    archive="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    size=170_498_071,
    folder="cifar-10-batches-py",
    files={**{f"data_batch_{i}": "train" for i in range(1, 6)}, "test_batch": "test"},
    meta="batches.meta",
    label_keys={"fine": "labels"},
    class_keys={"fine": "label_names"},
    class_counts={"fine": 10},
    published={
        ("fine", "train"): "c04942ffa63b673eca88323ba803748f5e2a75f2b2ecef9a0051424bc1ec6a0e",
        ("fine", "test"): "8fbc99a4f8812a2472502bee25cd27eab7a55ee61f0b11e68da4aba946d0d993",
    },
)
CIFAR100 = Kind(
    name="CIFAR-100",
    archive="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    size=169_001_437,
    folder="cifar-100-python",
    files={"train": "train", "test": "test"},
    meta="meta",
    label_keys={"fine": "fine_labels", "coarse": "coarse_labels"},
    class_keys={"fine": "fine_label_names", "coarse": "coarse_label_names"},
    class_counts={"fine": 100, "coarse": 20},
    published={
        ("fine", "train"): "59742ac3d37646171a1f37cbf02db33dd5da9e736b59061df51d8a9103e417ab",
        ("fine", "test"): "f636ff72fb45c7706a46b66766ae753940a58b0980e16b29b46d609ccfd72fb2",
        ("coarse", "train"): "a38644f16aa8c69fea93b25ac82be8b2a7f870e7852df772eb70de359b5f7905",
        ("coarse", "test"): "94ab592cace54a4b7df41b889164b3a753ef2a1efeaf0523acc86196ee252dfc",
    },
)
KINDS = {"cifar10": CIFAR10, "cifar100": CIFAR100}


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
        raise DataError(
            f"{source} has one kind of labels, so data.label_mode={label_mode} can't be had",
            "leave out data.label_mode; only cifar100 has coarse labels",
        )


def decode_cifar(
    kind: Kind,
    source: Path,
    members: Iterable[Member],
    label_mode: str,
    policy: ImagePolicy,
    out: Path,
) -> Decoded:
    """Write the splits of an official archive or its extracted folder into ``out``.

    It is called CIFAR-10 or CIFAR-100 where all that is there was published so, else by its path.
    A missing test file is no fault. Raises DataError for anything else that is missing or not as
    published, OSError if ``out`` can't be written.
    """
    if label_mode not in kind.label_keys:
        refuse_label_mode(label_mode, str(source))
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    classes: tuple[str, ...] = ()
    for member in members:
        path, where = PurePosixPath(member.path), f"{source}: {member.path}"
        if member.is_folder or path.parent.name not in ("", kind.folder):
            continue
        if path.name == kind.meta:
            classes = _class_names(load(member.read(), where), kind, label_mode, where)
        elif path.name in kind.files:
            batches[path.name] = _parse_batch(load(member.read(), where), kind, label_mode, where)
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
        content_hash(*pair, classes) == kind.published[label_mode, split]
        for split, pair in splits.items()
    )
    name = kind.name if published else str(source.resolve())
    suffix = f" ({label_mode})" if len(kind.label_keys) > 1 else ""
    return write_arrays(name + suffix, Arrays(classes, **splits), policy, out, image_names)


def content_hash(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> str:
    """Return a sha256 (hex) over images uint8 (N, H, W, C), labels (N,) and class names.

    The images' order does not matter: copies of CIFAR-100 sorted by class are in use.
    """
    rows = zip(images, labels, strict=True)
    digests = sorted(hashlib.sha256(i.tobytes() + bytes([label])).digest() for i, label in rows)
    return hashlib.sha256(json.dumps(classes).encode() + b"".join(digests)).hexdigest()


def _parse_batch(
    content: dict[str, Any], kind: Kind, label_mode: str, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Give images uint8 (N, 32, 32, 3) and labels int64 (N,). Raises DataError."""
    data, numbers = content.get("data"), content.get(kind.label_keys[label_mode])
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2):
        raise DataError(f"{where} holds no uint8 matrix under 'data'", REPACKED_HINT)
    if data.shape[1] != 3 * 32 * 32 or not len(data):
        raise DataError(f"{where} holds data of shape {data.shape}, not (N, 3072)", REPACKED_HINT)
    count = kind.class_counts[label_mode]
    if not (
        isinstance(numbers, list)
        and len(numbers) == len(data)
        and all(type(number) is int and 0 <= number < count for number in numbers)
    ):
        raise DataError(
            f"{where} holds no list of {len(data)} labels from 0 to {count - 1}", REPACKED_HINT
        )
    images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(numbers, dtype=np.int64)


def _class_names(
    content: dict[str, Any], kind: Kind, label_mode: str, where: str
) -> tuple[str, ...]:
    names = content.get(kind.class_keys[label_mode])
    count = kind.class_counts[label_mode]
    if not (
        isinstance(names, list)
        and all(isinstance(name, bytes | str) for name in names)
        and len(set(names)) == len(names) == count
    ):
        raise DataError(f"{where} holds no list of {count} class names", REPACKED_HINT)
    return tuple(re.sub(r"\s+", " ", text(name)) for name in names)
