"""From paths to splits, classes and labels: a pure function, the same for any order of paths."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cifarlab.system.errors import DataError

_SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
# Words in other spellings of them, such as Train_png, testing or seg_test.
_WORDS = {
    **_SPLITS,
    **dict.fromkeys(("training", "trainset"), "train"),
    **dict.fromkeys(("testing", "testset", "eval", "evaluation"), "test"),
    "dev": "val",
}
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


def infer_layout(files: Sequence[str], folders: Iterable[str]) -> Layout:
    """Sort image files into splits and classes.

    ``folders`` names all folders, also those without a usable image, so that an empty class is
    noticed. Folders that wrap everything are stripped. Raises DataError naming what is misplaced.
    """
    if not files:
        raise DataError("there is no image in it", _LAYOUTS)
    wrapping = _wrapping_folders(files)
    with_splits = _has_splits(files, len(wrapping))
    if not with_splits:
        _refuse_splits_within_classes(files, len(wrapping))
    file_classes = [_split_and_class(path, len(wrapping), with_splits) for path in files]
    empty_folders = {
        split_and_class
        for folder in folders
        if (split_and_class := _folder_split_and_class(folder, wrapping, with_splits)) is not None
    }
    classes = _classes(set(file_classes), empty_folders)
    return _sorted_by_path(files, file_classes, classes)


def _wrapping_folders(files: Sequence[str]) -> list[str]:
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


def _split(folder: str) -> str | None:
    """Return the split that a folder's name speaks of, None for none or several."""
    spelled = (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", folder))
    named_splits = {_WORDS[word] for word in spelled if word in _WORDS}
    return named_splits.pop() if len(named_splits) == 1 else None


def _all_are_splits(names: set[str]) -> bool:
    """Return whether all these folders of one level are splits, several of them."""
    splits = {_split(name) for name in names}
    return None not in splits and len(splits) > 1


def _has_splits(files: Sequence[str], depth: int) -> bool:
    names = {path.split("/")[depth] for path in files}
    plain = {name for name in names if name.lower() in _SPLITS}
    if not plain and not _all_are_splits(names):
        _refuse_stray_folders(files, depth, names)
        return False
    # a class may be called train, but then its images lie in it, not in folders below
    direct = [path.count("/") == depth + 1 for path in files if path.split("/")[depth] in plain]
    if len(plain) == 1 < len(names) and all(direct) and not _all_are_splits(names):
        return False
    folder_of_split: dict[str, str] = {}
    for name in sorted(names):
        if (split := _split(name)) in folder_of_split:
            raise DataError(
                f"both {folder_of_split[split]}/ and {name}/ hold a {split} split", "keep one"
            )
        if split:
            folder_of_split[split] = name
    if "train" not in folder_of_split:
        raise DataError(
            f"there is {min(folder_of_split.values())}/ but no train/ with images", _LAYOUTS
        )
    return True


def _refuse_stray_folders(files: Sequence[str], depth: int, names: set[str]) -> None:
    """Raise DataError for Train_png/A/, testpng/A/ and extra/: test images would be trained on."""
    starts = {name: re.match("train|test|val", name.lower()) for name in sorted(names)}
    splits = {name: _split(name) or start[0] for name, start in starts.items() if start}
    if len(set(splits.values())) > 1 and all(path.count("/") > depth + 1 for path in files):
        raise DataError(f"{', '.join(splits)} look like splits, but are not named so", _LAYOUTS)


def _refuse_splits_within_classes(files: Sequence[str], depth: int) -> None:
    """Raise DataError for <class>/train/ and <class>/test/: all would be trained on."""
    below = [path.split("/")[depth:-1] for path in files]
    inner = {parts[1] for parts in below if len(parts) > 1}
    if inner and all(len(parts) > 1 for parts in below) and _all_are_splits(inner):
        named = ", ".join(f"{name}/" for name in sorted(inner))
        raise DataError(f"the splits {named} lie within the class folders", _LAYOUTS)


def _split_and_class(path: str, depth: int, with_splits: bool) -> tuple[str, str]:
    """Give (split, class) of a file."""
    parts = path.split("/")[depth:]
    split: str | None = "train"
    if with_splits:
        split = _split(parts.pop(0))
    if split is None:
        raise DataError(f"{path} lies beside the train folder, in none of the splits", _LAYOUTS)
    if len(parts) < 2:
        raise DataError(f"{path} lies in no class folder", _LAYOUTS)
    return split, parts[0]


def _folder_split_and_class(
    folder: str, wrapping: list[str], with_splits: bool
) -> tuple[str, str] | None:
    """Give (split, class) of a folder, or None if it is not inside a class."""
    parts = folder.split("/")
    if parts[: len(wrapping)] != wrapping:
        return None
    parts = parts[len(wrapping) :]
    split = _split(parts.pop(0)) if with_splits and parts else "train"
    return (split, parts[0]) if split and parts else None


def _classes(
    file_classes: set[tuple[str, str]], empty_folders: set[tuple[str, str]]
) -> tuple[str, ...]:
    classes = {name for split, name in file_classes if split == "train"}
    for split, name in sorted(file_classes | empty_folders):
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
    files: Sequence[str], file_classes: list[tuple[str, str]], classes: tuple[str, ...]
) -> Layout:
    number = {name: i for i, name in enumerate(classes)}
    positions: dict[str, list[int]] = {}
    for i in sorted(range(len(files)), key=files.__getitem__):
        positions.setdefault(file_classes[i][0], []).append(i)
    order = {split: np.array(indices, dtype=np.int64) for split, indices in positions.items()}
    labels = {
        split: np.array([number[file_classes[i][1]] for i in indices], dtype=np.int64)
        for split, indices in positions.items()
    }
    return Layout(classes, order, labels)
