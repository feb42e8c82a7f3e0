"""Infer splits, classes and labels from paths: a pure function, the same for any order of paths."""

import re
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from cifarlab.system.errors import DataError

_SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
# Words of other names of splits, such as Train_png, testing or seg_test.
_WORDS = {
    **_SPLITS,
    **dict.fromkeys(("training", "trainset"), "train"),
    **dict.fromkeys(("testing", "testset", "eval", "evaluation"), "test"),
    "dev": "val",
}
_LAYOUTS = "lay the images out as train/<class>/ and test/<class>/, or just as <class>/"


def infer_layout(
    files: Sequence[str], folders: Iterable[str]
) -> tuple[tuple[str, ...], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return the K classes, and each split's images and labels.

    Images are indices of ``files``, int64 (n,), sorted by path; labels are int64 (n,), 0..K-1.
    Outer folders that hold all others are ignored.

    Args:
        files: the image files' paths
        folders: all folders' paths, so that a class without an image is noticed

    Raises:
        DataError: a file or folder, which is named, fits no layout
    """
    if not files:
        raise DataError("there is no image in it", _LAYOUTS)
    wrapping = _wrapping_folders(files)
    paths = [path.split("/")[len(wrapping) :] for path in files]
    prefix = [] if _has_splits(paths) else ["train"]
    locations = [
        _split_and_class(path, prefix + parts) for path, parts in zip(files, paths, strict=True)
    ]
    empty_classes = set()
    for folder in folders:
        parts = folder.split("/")
        split_parts = prefix + parts[len(wrapping) :] if parts[: len(wrapping)] == wrapping else []
        if len(split_parts) > 1 and (split := _split(split_parts[0])):
            empty_classes.add((split, split_parts[1]))
    classes = _classes({*locations}, empty_classes)
    class_number = {name: index for index, name in enumerate(classes)}
    splits: dict[str, list[int]] = {}
    for index in sorted(range(len(files)), key=files.__getitem__):
        splits.setdefault(locations[index][0], []).append(index)
    return classes, {
        split: (np.array(order), np.array([class_number[locations[index][1]] for index in order]))
        for split, order in splits.items()
    }


def _wrapping_folders(files: Sequence[str]) -> list[str]:
    """Return the outer folders that all files are in, above the split or class folders."""
    # What the smallest and the largest path have in common, all paths have.
    first, last = min(files).split("/"), max(files).split("/")
    levels = min(path.count("/") for path in files)
    shared: list[str] = []
    for a, b in zip(first, last, strict=False):
        # A file needs a class folder, so at most all but the last two parts of its path are outer.
        if a != b or a.lower() in _SPLITS or len(shared) >= levels - 1:
            break
        shared.append(a)
    return shared


@cache
def _split(folder: str) -> str | None:
    """Return the split that a folder's name has a word of, None for none or several."""
    spelled = (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", folder))
    named_splits = {_WORDS[word] for word in spelled if word in _WORDS}
    return named_splits.pop() if len(named_splits) == 1 else None


def _all_are_splits(names: set[str]) -> bool:
    """Return whether these folders of one level are all splits, and at least two."""
    splits = {_split(name) for name in names}
    return None not in splits and len(splits) > 1


def _has_splits(paths: list[list[str]]) -> bool:
    """Return whether each path begins with a split. Raises DataError where that is unclear."""
    names = {parts[0] for parts in paths}
    split_names = {name for name in names if name.lower() in _SPLITS}
    # a class may be called train, but then its images lie in it, not in folders below
    is_class = len(split_names) == 1 < len(names) and all(
        len(parts) == 2 for parts in paths if parts[0] in split_names
    )
    if not _all_are_splits(names) and (not split_names or is_class):
        _refuse_strays(paths, names if not split_names else set())
        return False
    folder_of_split: dict[str, str] = {}
    for name in sorted(names):
        split = _split(name)
        if split and split in folder_of_split:
            what = f"both {folder_of_split[split]}/ and {name}/ hold a {split} split"
            raise DataError(what, "keep one")
        if split:
            folder_of_split[split] = name
    if "train" not in folder_of_split:
        what = f"there is {min(folder_of_split.values())}/ but no train/ with images"
        raise DataError(what, _LAYOUTS)
    return True


def _refuse_strays(paths: list[list[str]], names: set[str]) -> None:
    """Raise DataError for layouts in which test images would be taken for training images.

    Such as Train_png/A/, testpng/A/ and extra/, or <class>/train/ and <class>/test/.
    """
    if not all(len(parts) > 2 for parts in paths):
        return
    starts = {name: re.match("train|test|val", name.lower()) for name in sorted(names)}
    splits = {name: _split(name) or start[0] for name, start in starts.items() if start}
    if len(set(splits.values())) > 1:
        raise DataError(f"{', '.join(splits)} look like splits, but are not named so", _LAYOUTS)
    inner = {parts[1] for parts in paths}
    if _all_are_splits(inner):
        listing = ", ".join(f"{name}/" for name in sorted(inner))
        raise DataError(f"the splits {listing} lie within the class folders", _LAYOUTS)


def _split_and_class(path: str, parts: list[str]) -> tuple[str, str]:
    split = _split(parts[0])
    if split is None:
        raise DataError(f"{path} lies beside the train folder, in none of the splits", _LAYOUTS)
    if len(parts) < 3:
        raise DataError(f"{path} lies in no class folder", _LAYOUTS)
    return split, parts[1]


def _classes(
    file_classes: set[tuple[str, str]], empty_folders: set[tuple[str, str]]
) -> tuple[str, ...]:
    classes = {name for split, name in file_classes if split == "train"}
    for split, name in sorted(file_classes | empty_folders):
        if name not in classes and split == "train":
            raise DataError(f"the class folder {name!r} has no image", "fill it or remove it")
        if name not in classes:
            what = f"class {name!r} is in {split} but not in train"
            raise DataError(what, "a class needs training images")
    if len(classes) < 2:
        raise DataError(f"there is just one class, {min(classes)!r}", _LAYOUTS)
    return tuple(sorted(classes))
