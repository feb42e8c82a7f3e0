"""The cache of decoded sources: one folder for each source, label mode and image policy.

An entry holds ``<split>.images.npy``, ``<split>.labels.npy``, ``<split>.names.json`` and, written
last, ``meta.json``. It is built under another name and renamed, so that it is never there in part.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from pydantic import TypeAdapter

from cifarlab.data.dataset import Dataset, DecodeResult, images_file, labels_file, names_file
from cifarlab.system.errors import CifarlabError, StorageError
from cifarlab.system.files import disk_errors, read_json, write_text

FORMAT = 2  # raise it when the same source would be decoded to something else
HINT = "set CIFARLAB_CACHE to a folder on a disk with space that you may write to"


def cache_root() -> Path:
    """Return $CIFARLAB_CACHE, or $XDG_CACHE_HOME/cifarlab, or ~/.cache/cifarlab."""
    if root := os.environ.get("CIFARLAB_CACHE"):
        return Path(root).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cifarlab"


def open_cached(entry: Path, source: str, decode: Callable[[Path], DecodeResult]) -> Dataset:
    """Return a decoded source, from the cache where it has a complete entry.

    Args:
        entry: the entry's folder, from ``cache_entry``
        source: what the user called the source
        decode: writes the splits into the folder that it is given; its errors pass through

    Raises:
        StorageError: the cache can't be written, or read back
    """
    # Without the lock, so that a cache on a read-only disk serves too.
    if dataset := load_cached(entry, source):
        return dataset
    with disk_errors(entry):
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_name(f".{entry.name}.lock")):
            # While this process waited for the lock, another may have built the entry.
            if not (dataset := load_cached(entry, source)):
                _build(entry, source, decode)
                dataset = load_cached(entry, source)
    if dataset is None:
        raise StorageError(f"what was just written to {entry} can't be read back", HINT)
    return dataset


def cache_entry(stem: str, identity: object) -> Path:
    """Return an entry's folder; ``identity`` is JSON-able and changes with what is decoded."""
    key = hashlib.sha256(json.dumps([FORMAT, identity]).encode()).hexdigest()[:16]
    return cache_root() / f"{re.sub(r'[^A-Za-z0-9.]+', '-', stem)[:64]}-{key}"


def _build(entry: Path, source: str, decode: Callable[[Path], DecodeResult]) -> None:
    """Decode beside the entry and rename; the caller holds the lock."""
    building = entry.with_name(f".{entry.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # of a process that was killed
    building.mkdir()
    try:
        dataset = _describe(building, source, decode(building))
        files = [file for split in dataset.split_names for file in _files(building, split)]
        meta = asdict(dataset) | {"bytes": {file.name: _flushed_size(file) for file in files}}
        write_text(building / "meta.json", json.dumps(meta, indent=1, default=str))
        if entry.exists():  # damaged; whoever has it mapped keeps what is mapped
            shutil.rmtree(entry)
        building.rename(entry)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _flushed_size(file: Path) -> int:
    """Return the size of a file, after it was flushed to the disk."""
    with file.open("rb") as opened_file:
        os.fsync(opened_file.fileno())
    return file.stat().st_size


def _describe(folder: Path, source: str, decoded: DecodeResult) -> Dataset:
    """Return what was decoded, with a hash of what training may see, which excludes test."""
    sizes = {s: len(np.load(labels_file(folder, s))) for s in decoded.split_names}
    shape = np.load(images_file(folder, "train"), mmap_mode="r").shape[1:]
    dataset = Dataset(
        **decoded._asdict(),
        source=source,
        image_shape=shape,
        fingerprint="",
        split_sizes=sizes,
        channels_equal=False,
        folder=folder,
    )
    digest, channels_equal = hashlib.sha256(json.dumps(decoded.classes).encode()), shape[2] == 3
    for name in ("train", "val"):
        if name in sizes:
            split = dataset.read(name)
            digest.update(json.dumps([name, split.images.shape]).encode())
            digest.update(split.labels.astype("<i8").tobytes())
            for chunk in split.chunks():
                digest.update(chunk.data)
                channels_equal = channels_equal and bool((chunk == chunk[..., :1]).all())
    return replace(dataset, fingerprint=digest.hexdigest(), channels_equal=channels_equal)


def load_cached(entry: Path, source: str) -> Dataset | None:
    """Return the entry's data set, None where it is missing or damaged."""
    try:
        meta = read_json(entry / "meta.json", "") or {}
        sizes = meta.pop("bytes")
        dataset = TypeAdapter(Dataset).validate_python({**meta, "source": source, "folder": entry})
        # training works with the test files deleted; any other missing file is damage
        is_complete = all(
            file.stat().st_size == sizes[file.name]
            for split in dataset.split_names
            for file in _files(entry, split)
            if split != "test" or file.exists()
        )
    except (CifarlabError, OSError, ValueError, KeyError, TypeError):
        return None
    return dataset if is_complete else None


def _files(entry: Path, split: str) -> tuple[Path, ...]:
    return images_file(entry, split), labels_file(entry, split), names_file(entry, split)
