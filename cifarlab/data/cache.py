"""Decoded once, mapped ever after: one folder per source, labels and image policy.

An entry holds ``<split>.images.npy``, ``<split>.labels.npy``, ``<split>.names.json`` and, written
last, ``meta.json``. It is built beside its place and renamed, so it is there whole or not at all.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from cifarlab.data.dataset import Dataset, Decoded, images_file, labels_file, names_file
from cifarlab.system.errors import CifarlabError, StorageError
from cifarlab.system.files import read_json, write_text

FORMAT = 2  # raise it when the same source would be decoded to something else
_CHUNK = 4096
HINT = "set CIFARLAB_CACHE to a folder on a disk with space that you may write to"


def cache_root() -> Path:
    """Give $CIFARLAB_CACHE, or $XDG_CACHE_HOME/cifarlab, or ~/.cache/cifarlab."""
    if root := os.environ.get("CIFARLAB_CACHE"):
        return Path(root).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cifarlab"


def open_cached(
    source: str, stem: str, identity: object, decode: Callable[[Path], Decoded]
) -> Dataset:
    """Give the decoded source, from the cache if it is there and whole.

    ``identity`` is JSON-able and changes whenever the result of ``decode`` might. ``decode``
    writes the splits into the folder it gets. Raises what ``decode`` raises, and StorageError
    where the cache can't be written.
    """
    entry = _entry(stem, identity)
    # Without the lock, so that a cache on a read-only disk serves too.
    if dataset := _load(entry, source):
        return dataset
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_name(f".{entry.name}.lock")):
            # While this process waited for the lock, another may have built the entry.
            if not (dataset := _load(entry, source)):
                _build(entry, decode)
                dataset = _load(entry, source)
    except StorageError as error:
        raise StorageError(error.what, HINT) from error
    except CifarlabError:
        raise
    except OSError as error:
        what = f"can't write the cache {entry}: {error.strerror or error}"
        raise StorageError(what, HINT) from error
    if dataset is None:
        raise StorageError(f"what was just written to {entry} can't be read back", HINT)
    return dataset


def load_cached(source: str, stem: str, identity: object) -> Dataset | None:
    """What ``open_cached`` would give from the cache alone, None where the entry is not there."""
    return _load(_entry(stem, identity), source)


def _entry(stem: str, identity: object) -> Path:
    key = hashlib.sha256(json.dumps([FORMAT, identity]).encode()).hexdigest()[:16]
    return cache_root() / f"{re.sub(r'[^A-Za-z0-9.]+', '-', stem)[:64]}-{key}"


def _build(entry: Path, decode: Callable[[Path], Decoded]) -> None:
    """Decode beside the entry and rename; the caller holds the lock."""
    building = entry.with_name(f".{entry.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # of a process that was killed
    building.mkdir()
    try:
        decoded = decode(building)
        meta = json.dumps(_meta(building, decoded), indent=1)
        write_text(building / "meta.json", meta)
        if entry.exists():  # damaged; whoever has it mapped keeps what is mapped
            shutil.rmtree(entry)
        building.rename(entry)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _meta(folder: Path, decoded: Decoded) -> dict[str, Any]:
    shape = _mapped(folder, "train").shape[1:]
    return {
        "name": decoded.name,
        "classes": decoded.classes,
        "image_shape": shape,
        "fingerprint": _fingerprint(folder, decoded),
        "skipped": decoded.skipped,
        "split_names": decoded.split_names,
        "split_sizes": {s: len(_mapped(folder, s)) for s in decoded.split_names},
        "channels_equal": _channels_equal(folder, decoded),
        "bytes": {
            file.name: _flushed_size(file)
            for split in decoded.split_names
            for file in _files(folder, split)
        },
    }


def _flushed_size(file: Path) -> int:
    """Size of a file that a power cut can no longer take back."""
    with file.open("rb") as opened_file:
        os.fsync(opened_file.fileno())
    return file.stat().st_size


def _fingerprint(folder: Path, decoded: Decoded) -> str:
    """Hash what training may see. Test is left out: a run must not depend on it."""
    digest = hashlib.sha256(json.dumps(decoded.classes).encode())
    for split in ("train", "val"):
        if split not in decoded.split_names:
            continue
        images = _mapped(folder, split)
        labels = np.load(labels_file(folder, split))
        digest.update(json.dumps([split, images.shape]).encode())
        digest.update(labels.astype("<i8").tobytes())
        for start in range(0, len(images), _CHUNK):
            digest.update(images[start : start + _CHUNK])
    return digest.hexdigest()


def _channels_equal(folder: Path, decoded: Decoded) -> bool:
    """Whether images with three channels are all grey; ends at the first part that is not."""
    parts = [_mapped(folder, split) for split in ("train", "val") if split in decoded.split_names]
    chunks = (part[at : at + _CHUNK] for part in parts for at in range(0, len(part), _CHUNK))
    return parts[0].shape[3] == 3 and all((c == c[..., :1]).all() for c in chunks)


def _mapped(folder: Path, split: str) -> Any:
    return np.load(images_file(folder, split), mmap_mode="r")


def _load(entry: Path, source: str) -> Dataset | None:
    """Give the entry, or None where it is missing or damaged."""
    try:
        meta = read_json(entry / "meta.json", "") or {}
        sizes = meta["bytes"]
        height, width, channels = meta["image_shape"]
        dataset = Dataset(
            name=meta["name"],
            source=source,
            classes=tuple(meta["classes"]),
            image_shape=(height, width, channels),
            fingerprint=meta["fingerprint"],
            skipped=tuple(meta["skipped"]),
            split_names=tuple(meta["split_names"]),
            split_sizes=dict(meta["split_sizes"]),
            channels_equal=meta["channels_equal"],
            folder=entry,
        )
        files = [f for s in dataset.split_names for f in _files(entry, s) if _expected(f, s)]
        is_complete = all(file.stat().st_size == sizes[file.name] for file in files)
    except (CifarlabError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dataset if is_complete else None


def _files(entry: Path, split: str) -> tuple[Path, ...]:
    return images_file(entry, split), labels_file(entry, split), names_file(entry, split)


def _expected(file: Path, split: str) -> bool:
    """Training works with the test files deleted; any other missing file is damage."""
    return split != "test" or file.exists()
