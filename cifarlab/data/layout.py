"""From paths to splits, classes and labels: a pure function, the same for any order of paths."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cifarlab.errors import DataError

_SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
_LAYOUTS = "lay the images out as train/<class>/ and test/<class>/, or just as <class>/"


@dataclass(frozen=True)
class Layout:
    """Where each file belongs.

    ``order``: per split, positions (n,) int64 in the given files, so that their paths ascend;
    ``labels``: per split, (n,) int64 in 0..K-1, in that order.
    """

    classes: tuple[str, ...]
    order: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


def arrange(files: Sequence[str], folders: Iterable[str]) -> Layout:
    """Sort image files into splits and classes.

    ``folders`` names all folders, also those without a usable image, so that an empty class is
    noticed. Folders that wrap everything are stripped. Raises DataError naming what is misplaced.
    """
    if not files:
        raise DataError("there is no image in it", _LAYOUTS)
    wrapping = _wrapping(files)
    with_splits = _has_splits(files, len(wrapping))
    places = [_place(path, len(wrapping), with_splits) for path in files]
    bare = {
        place
        for folder in folders
        if (place := _folder_place(folder, wrapping, with_splits)) is not None
    }
    classes = _classes(set(places), bare)
    return _sorted_by_path(files, places, classes)


def _wrapping(files: Sequence[str]) -> list[str]:
    """Give the folders that all files share, down to the split or class folders."""
    # The smallest and the largest path share what all paths share.
    first, last = min(files).split("/"), max(files).split("/")
    levels = min(path.count("/") for path in files)
    shared: list[str] = []
    for a, b in zip(first, last, strict=False):
        # A file needs a class folder above it, so at most all but two of its parts can wrap it.
        if a != b or a.lower() in _SPLITS or len(shared) >= levels - 1:
            break
        shared.append(a)
    return shared


def _has_splits(files: Sequence[str], depth: int) -> bool:
    spellings = {path.split("/")[depth] for path in files}
    found: dict[str, str] = {}
    for name in sorted(spellings):
        split = _SPLITS.get(name.lower())
        if split in found:
            raise DataError(f"both {found[split]}/ and {name}/ hold a {split} split", "keep one")
        if split:
            found[split] = name
    if found and "train" not in found:
        raise DataError(f"there is {min(found.values())}/ but no train/ with images", _LAYOUTS)
    return bool(found)


def _place(path: str, depth: int, with_splits: bool) -> tuple[str, str]:
    """Give (split, class) of a file."""
    parts = path.split("/")[depth:]
    split: str | None = "train"
    if with_splits:
        split = _SPLITS.get(parts.pop(0).lower())
    if split is None:
        raise DataError(f"{path} lies beside the train folder, in none of the splits", _LAYOUTS)
    if len(parts) < 2:
        raise DataError(f"{path} lies in no class folder", _LAYOUTS)
    return split, parts[0]


def _folder_place(folder: str, wrapping: list[str], with_splits: bool) -> tuple[str, str] | None:
    """Give (split, class) of a folder, or None if it is not inside a class."""
    parts = folder.split("/")
    if parts[: len(wrapping)] != wrapping:
        return None
    parts = parts[len(wrapping) :]
    split = _SPLITS.get(parts.pop(0).lower()) if with_splits and parts else "train"
    return (split, parts[0]) if split and parts else None


def _classes(places: set[tuple[str, str]], bare: set[tuple[str, str]]) -> tuple[str, ...]:
    classes = {name for split, name in places if split == "train"}
    for split, name in sorted(places | bare):
        if name in classes:
            continue
        if split == "train":
            raise DataError(f"the class folder {name!r} has no image", "fill it or remove it")
        raise DataError(
            f"class {name!r} is in {split} but not in train", "a class needs training images"
        )
    if len(classes) < 2:
        raise DataError(f"there is just one class, {min(classes)!r}", _LAYOUTS)
    return tuple(sorted(classes))


def _sorted_by_path(
    files: Sequence[str], places: list[tuple[str, str]], classes: tuple[str, ...]
) -> Layout:
    number = {name: i for i, name in enumerate(classes)}
    positions: dict[str, list[int]] = {}
    for i in sorted(range(len(files)), key=files.__getitem__):
        positions.setdefault(places[i][0], []).append(i)
    order = {split: np.array(found, dtype=np.int64) for split, found in positions.items()}
    labels = {
        split: np.array([number[places[i][1]] for i in found], dtype=np.int64)
        for split, found in positions.items()
    }
    return Layout(classes, order, labels)
