"""The official CIFAR-10 and CIFAR-100 archives (Krizhevsky 2009), "python version".

Images are checked and turned from vectors, channel by channel, into (N, 32, 32, 3). Files of that
layout with other images, labels or class names are read too, but are called by their path.
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
from cifarlab.data.cifar_pickles import REPACKED_HINT, decode_text, load_pickle
from cifarlab.data.dataset import DecodeRequest, DecodeResult
from cifarlab.system.errors import DataError


@dataclass(frozen=True)
class LabelSpec:
    """Which keys of batches and of the meta file hold labels of one mode and their classes."""

    key: str
    class_key: str
    classes: int
    published: dict[str, str]  # split -> content_hash


@dataclass(frozen=True)
class OfficialDataset:
    """Which files CIFAR-10 or CIFAR-100 has, and what they hold."""

    name: str
    archive: str
    md5: str
    size: int
    folder: str
    meta: str
    files: dict[str, str]  # file name -> split, in the order of the images
    labels: dict[str, LabelSpec]  # by label mode


DATASETS = TypeAdapter(dict[str, OfficialDataset]).validate_json(
    Path(__file__).with_name("cifar.json").read_bytes()
)


def recognize_path(path: str) -> OfficialDataset | None:
    """Return the official data set that a member of this path belongs to, if any."""
    parent = PurePosixPath(path).parent.name
    return next((dataset for dataset in DATASETS.values() if dataset.folder == parent), None)


def recognize_folder(folder: Path) -> OfficialDataset | None:
    """Return the official data set whose files a folder holds, whatever its name, if any."""
    for dataset in DATASETS.values():
        if all((folder / name).is_file() for name in (dataset.meta, next(iter(dataset.files)))):
            return dataset
    return None


def refuse_label_mode(label_mode: str, source: str) -> None:
    """Refuse any label mode but ``fine``, for a source that has one kind of labels.

    Raises:
        DataError: ``label_mode`` is another one
    """
    if label_mode != "fine":
        what = f"{source} has one kind of labels, so data.label_mode={label_mode} can't be had"
        raise DataError(what, "leave out data.label_mode; only cifar100 has coarse labels")


def decode_cifar(
    dataset: OfficialDataset, source: Path, members: Iterable[Member], request: DecodeRequest
) -> DecodeResult:
    """Write the splits of an official archive or its extracted folder.

    The result is called CIFAR-10 or CIFAR-100 where the content has the published hashes, else by
    its path. The test file may be missing.

    Args:
        dataset: which of the two it is
        source: the archive's or folder's path
        members: its files
        request: the label mode, the image policy, and the folder that is written to

    Raises:
        DataError: another file is missing or holds something else than the published one
        OSError: the folder can't be written
    """
    if request.label_mode not in dataset.labels:
        refuse_label_mode(request.label_mode, str(source))
    spec = dataset.labels[request.label_mode]
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    classes: tuple[str, ...] = ()
    for member in members:
        path, where = PurePosixPath(member.path), f"{source}: {member.path}"
        if member.is_folder or path.parent.name not in ("", dataset.folder):
            continue
        if path.name == dataset.meta:
            classes = _class_names(load_pickle(member.read(), where), spec, where)
        elif path.name in dataset.files:
            batches[path.name] = _parse_batch(load_pickle(member.read(), where), spec, where)
    missing_files = [] if classes else [dataset.meta]
    missing_files += [n for n, s in dataset.files.items() if s == "train" and n not in batches]
    if missing_files:
        raise DataError(f"{source} lacks {', '.join(missing_files)}", REPACKED_HINT)
    splits, image_names = {}, {}
    for split in sorted({dataset.files[name] for name in batches}):
        files = [name for name, its_split in dataset.files.items() if its_split == split]
        images, labels = zip(*(batches[name] for name in files), strict=True)
        splits[split] = np.concatenate(images), np.concatenate(labels)
        image_names[split] = [
            f"{name}[{k}]" for name in files for k in range(len(batches[name][1]))
        ]
    is_published = all(
        content_hash(*pair, classes) == spec.published[split] for split, pair in splits.items()
    )
    name = dataset.name if is_published else str(source.resolve())
    suffix = f" ({request.label_mode})" if len(dataset.labels) > 1 else ""
    return write_arrays(name + suffix, Arrays(classes, **splits), request, image_names)


def content_hash(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> str:
    """Return a SHA-256 (hex) of a split, the same for any order of its images.

    Copies of CIFAR-100 that are sorted by class are in use.

    Args:
        images: uint8 (N, H, W, C)
        labels: integers (N,), 0..255
        classes: the class names
    """
    rows = zip(images, labels, strict=True)
    digests = sorted(hashlib.sha256(i.tobytes() + bytes([label])).digest() for i, label in rows)
    return hashlib.sha256(json.dumps(classes).encode() + b"".join(digests)).hexdigest()


def _parse_batch(
    content: dict[str, Any], spec: LabelSpec, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 (N, 32, 32, 3) and labels int64 (N,). Raises DataError."""
    data, numbers = content.get("data"), content.get(spec.key)
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2):
        raise DataError(f"{where} holds no uint8 matrix under 'data'", REPACKED_HINT)
    if data.shape[1] != 3 * 32 * 32 or not len(data):
        raise DataError(f"{where} holds data of shape {data.shape}, not (N, 3072)", REPACKED_HINT)
    if not (
        isinstance(numbers, list)
        and len(numbers) == len(data)
        and all(type(number) is int and 0 <= number < spec.classes for number in numbers)
    ):
        what = f"{where} holds no list of {len(data)} labels from 0 to {spec.classes - 1}"
        raise DataError(what, REPACKED_HINT)
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(numbers)


def _class_names(content: dict[str, Any], spec: LabelSpec, where: str) -> tuple[str, ...]:
    names = content.get(spec.class_key)
    if not (
        isinstance(names, list)
        and all(isinstance(name, bytes | str) for name in names)
        and len(set(names)) == len(names) == spec.classes
    ):
        raise DataError(f"{where} holds no list of {spec.classes} class names", REPACKED_HINT)
    return tuple(re.sub(r"\s+", " ", decode_text(name)) for name in names)
