"""From files, folders, archives and a competition's pickle to images of one size, with their ids.

Everything is taken for hostile: bytes and pixels are bounded, pickles run nothing, and what can't
be read is a DataError that names it.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cifarlab.data.archives import Member, damage_errors, iter_members
from cifarlab.data.cifar_pickles import load
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.images import MAX_PIXELS, BrokenError, RefusedError, conform, decode
from cifarlab.data.paths import ARCHIVE_SUFFIXES
from cifarlab.system.errors import DataError, UserError
from cifarlab.system.files import hint_to_read, is_folder, require_plain

RESIZE_MODES = ("crop", "pad", "stretch")
MAX_IMAGE_BYTES = 2**26
MAX_PICKLE_BYTES = 2**30
IMAGE = re.compile(r"\.(jpe?g?|jfif|png|bmp|gif|webp|tiff?|p[pgbn]m)$", re.IGNORECASE)
_MAX_ID_LETTERS = 1000
_PICKLES = (".pkl", ".pickle")
_PICKLE_HINT = "a pickled dictionary with 'data', uint8 (N, 3072) or (N, H, W, C), and 'ids'"


class Inputs(NamedTuple):
    """Images uint8 (N, H, W, C) in the order in which they were named, and their ids."""

    ids: list[str]
    images: np.ndarray


def read_inputs(paths: Sequence[Path | str], policy: ImagePolicy) -> Inputs:
    """Read all images of files, folders, archives and pickles, brought to the policy's size.

    The policy says grey or rgb, too. An image's id is its path as given, or within its
    folder; in a folder images stand in natural order (2 before 10) and other files are passed
    over. A pickle's ids are its own. Raises DataError.
    """
    ids: list[str] = []
    arrays: list[np.ndarray] = []
    for path in map(Path, paths):
        inputs = _read_pickle(path, policy) if path.suffix in _PICKLES else None
        if inputs is None:
            named_images = (
                _read_folder(path, policy) if _is_container(path) else [_read_file(path, policy)]
            )
            inputs = Inputs(
                [name for name, _ in named_images], np.stack([image for _, image in named_images])
            )
        ids += inputs.ids
        arrays.append(inputs.images)
    if not arrays:
        raise DataError("there is no image to predict", "name a file, a folder or a pickle")
    return Inputs(ids, np.concatenate(arrays))


def array_inputs(images: np.ndarray, policy: ImagePolicy) -> Inputs:
    """Bring images uint8 (N, H, W, C) or (N, H, W) to the policy's; their ids are 0, 1, ...

    Raises DataError for another shape, type or size.
    """
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"images are {images.dtype} of shape {images.shape}",
            "give uint8 (N, H, W, 1 or 3) or (N, H, W), 0 to 255",
        )
    try:
        return Inputs([str(n) for n in range(len(images))], conform(images, policy))
    except RefusedError as refused:
        raise DataError(f"each image {refused.what}", refused.hint) from refused


def input_policy(
    images: ImagePolicy, image_shape: tuple[int, int, int], resize_mode: str | None = None
) -> ImagePolicy:
    """Return the policy that makes any image a network's input (H, W, C), H = W.

    ``images`` is the recipe's; ``resize_mode`` (crop, pad, stretch) replaces its own. Raises
    UserError.
    """
    if resize_mode not in (None, *RESIZE_MODES):
        raise UserError(
            f"there is no resize mode {resize_mode!r}", f"take one of {', '.join(RESIZE_MODES)}"
        )
    side, _, channels = image_shape
    settings = {
        "size": side,
        "resize_mode": resize_mode or images.resize_mode,
        "channels": "grey" if channels == 1 else "rgb",
    }
    return ImagePolicy.model_validate(images.model_dump() | settings)


def decode_image(
    blob: bytes, where: str, policy: ImagePolicy, limit: int = MAX_PIXELS
) -> np.ndarray:
    """Decode an image file to uint8 (H, W, C): upright, its first frame, transparency over white.

    Raises DataError that names ``where``, also for one that declares more than ``limit`` pixels.
    """
    if not blob:
        raise DataError(f"{where} is empty", "choose a file with an image in it")
    if len(blob) > MAX_IMAGE_BYTES:
        raise _too_large(where, len(blob), MAX_IMAGE_BYTES)
    try:
        return decode(blob, policy, limit).copy()  # torch wants to write
    except BrokenError as broken:
        raise DataError(f"{where} {broken.what}", "choose another file, or mend it") from broken
    except RefusedError as refused:
        hint = refused.hint.replace("data.images.resize_mode", "--resize-mode")
        raise DataError(f"{where} {refused.what}", hint) from refused


def _is_container(path: Path) -> bool:
    return is_folder(path) or path.name.endswith(ARCHIVE_SUFFIXES)


def _read_file(path: Path, policy: ImagePolicy) -> tuple[str, np.ndarray]:
    return str(path), decode_image(_read_bytes(path, MAX_IMAGE_BYTES), str(path), policy)


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        with require_plain(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise _too_large(str(path), size, limit)
            return file.read(size)
    except OSError as error:
        what = f"can't read {path}: {error.strerror or error}"
        raise DataError(what, hint_to_read(error, "check its name")) from error


def _too_large(where: str, size: int, limit: int) -> DataError:
    return DataError(f"{where} has {size:,} bytes, more than {limit:,}", "it is no small image")


def _read_folder(path: Path, policy: ImagePolicy) -> list[tuple[str, np.ndarray]]:
    with damage_errors(path):
        named_images = list(_iterate_images(path, policy))
    if not named_images:
        raise DataError(f"{path} holds no image", "images end in .jpg, .png, .bmp or a variant")
    return sorted(named_images, key=lambda item: _natural_key(item[0]))


def _iterate_images(path: Path, policy: ImagePolicy) -> Iterator[tuple[str, np.ndarray]]:
    for member in iter_members(path):
        hidden = any(
            part.startswith((".", "__MACOSX")) for part in PurePosixPath(member.path).parts
        )
        if not member.is_folder and not hidden and IMAGE.search(member.path):
            yield (
                member.path,
                decode_image(_read_member(member, path), f"{path}: {member.path}", policy),
            )


def _read_member(member: Member, source: Path) -> bytes:
    if member.size > MAX_IMAGE_BYTES:
        raise _too_large(f"{source}: {member.path}", member.size, MAX_IMAGE_BYTES)
    return member.read()


def _natural_key(name: str) -> list[tuple[int, int, str]]:
    """A key by which 2 comes before 10, however many digits there are."""
    parts = re.split(r"(\d+)", name)
    digits = [part.lstrip("0") if part.isdecimal() else None for part in parts]
    return [
        (1, 0, part) if number is None else (0, len(number), number)
        for part, number in zip(parts, digits, strict=True)
    ]


def _read_pickle(path: Path, policy: ImagePolicy) -> Inputs:
    """Read the competition's file: nyu2024's images without labels. Raises DataError."""
    content = load(_read_bytes(path, MAX_PICKLE_BYTES), str(path), _PICKLE_HINT)
    data, ids = content.get("data"), content.get("ids")
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and len(data)):
        raise DataError(f"{path} holds no uint8 images under 'data'", _PICKLE_HINT)
    if data.ndim == 2 and data.shape[1] == 3 * 32 * 32:
        data = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    if data.ndim != 4 or data.shape[3] not in (1, 3) or min(data.shape) < 1:
        raise DataError(f"{path} holds data of shape {data.shape}", _PICKLE_HINT)
    try:
        images = conform(np.ascontiguousarray(data), policy)
    except RefusedError as refused:
        hint = refused.hint.replace("data.images.resize_mode", "--resize-mode")
        raise DataError(f"{path}: each image {refused.what}", hint) from refused
    return Inputs(_ids(ids, len(images), path), images)


def _ids(ids: object, count: int, path: Path) -> list[str]:
    if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "iuSU":
        ids = ids.tolist()
    if not (isinstance(ids, list) and all(isinstance(item, int | str | bytes) for item in ids)):
        raise DataError(f"{path} holds no list of ids under 'ids'", _PICKLE_HINT)
    if len(ids) != count:
        raise DataError(f"{path} holds {len(ids)} ids for {count} images", _PICKLE_HINT)
    if any(len(item) > _MAX_ID_LETTERS for item in ids if not isinstance(item, int)):
        raise DataError(f"{path} holds an id of more than {_MAX_ID_LETTERS} letters", _PICKLE_HINT)
    return [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in ids
    ]
