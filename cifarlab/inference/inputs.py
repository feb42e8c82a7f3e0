"""From files, folders, archives and a competition's pickle to images of one size, with their ids.

Nothing is trusted: bytes and pixels are bounded, pickles run nothing, and what can't be read is a
DataError that names it.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from cifarlab.data.archives import iter_members, require_distinct
from cifarlab.data.cifar_pickles import load_pickle
from cifarlab.data.image_policy import MAX_BYTES, SUFFIX, ImagePolicy
from cifarlab.data.paths import ARCHIVE_SUFFIXES
from cifarlab.system.errors import DataError, UserError
from cifarlab.system.files import damage_errors, is_folder, read_bytes
from cifarlab_serve.images import (
    MAX_PIXELS,
    BrokenError,
    RefusedError,
    conform_images,
    decode_bytes,
)

RESIZE_MODES = ("crop", "pad", "stretch")
MAX_PICKLE_BYTES = 2**30
_MAX_ID_LETTERS = 1000
_PICKLES = (".pkl", ".pickle")
_PICKLE_HINT = "a pickled dictionary with 'data', uint8 (N, 3072) or (N, H, W, C), and 'ids'"


class Inputs(NamedTuple):
    """Images uint8 (N, H, W, C) in the order of the user's paths, and their ids."""

    ids: list[str]
    images: np.ndarray


def read_inputs(paths: Sequence[Path | str], policy: ImagePolicy) -> Inputs:
    """Read all images of files, folders, archives and pickles, at the policy's size and channels.

    The id of an image is the path that the user wrote or, in a folder, its path in that folder; a
    pickle has ids. Images of a folder are in natural order (2 before 10); other files are ignored.

    Raises:
        DataError: there is no image, or one can't be read or brought to that size
    """
    inputs = [_read_path(path, policy) for path in map(Path, paths)]
    if not inputs:
        raise DataError("there is no image to predict", "name a file, a folder or a pickle")
    ids = [image_id for part in inputs for image_id in part.ids]
    return Inputs(ids, np.concatenate([part.images for part in inputs]))


def array_inputs(images: np.ndarray, policy: ImagePolicy) -> Inputs:
    """Bring images uint8 (N, H, W, C) or (N, H, W) to the policy's size; their ids are 0, 1, ...

    Raises:
        DataError: they have another shape, type or size
    """
    images = images[..., None] if images.ndim == 3 else images
    conformed = _conform(images, policy, "give uint8 (N, H, W, 1 or 3) or (N, H, W), 0 to 255")
    return Inputs([str(n) for n in range(len(images))], conformed)


def _conform(images: Any, policy: ImagePolicy, hint: str, source: str = "") -> np.ndarray:
    """Bring images to the policy's size and channels. Raises DataError."""
    shape: tuple[int, ...] = getattr(images, "shape", ())
    kind = getattr(images, "dtype", type(images).__name__)
    if kind != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise DataError(f"{source}images are {kind} of shape {shape}", hint)
    with _refusals(f"{source}each image", "--resize-mode" if source else "resize_mode"):
        return conform_images(np.ascontiguousarray(images), policy)


@contextmanager
def _refusals(name: str, setting: str = "--resize-mode") -> Iterator[None]:
    """Turn a refusal in the block into a DataError that names the image and the setting."""
    try:
        yield
    except BrokenError as broken:
        raise DataError(f"{name} {broken.what}", "choose another file, or mend it") from broken
    except RefusedError as refused:
        hint = refused.hint.replace("data.images.resize_mode", setting)
        raise DataError(f"{name} {refused.what}", hint) from refused


def input_policy(
    images: ImagePolicy, image_shape: tuple[int, int, int], resize_mode: str | None = None
) -> ImagePolicy:
    """Return the policy that makes an input of the network of any image.

    Args:
        images: the recipe's policy
        image_shape: the network's (H, W, C), H = W
        resize_mode: crop, pad or stretch; None: the recipe's

    Raises:
        UserError: there is no such ``resize_mode``
    """
    if resize_mode not in (None, *RESIZE_MODES):
        what = f"there is no resize mode {resize_mode!r}"
        raise UserError(what, f"take one of {', '.join(RESIZE_MODES)}")
    size, channels = image_shape[0], "grey" if image_shape[2] == 1 else "rgb"
    mode = resize_mode or images.resize_mode
    settings = {"size": size, "channels": channels, "resize_mode": mode}
    return ImagePolicy.model_validate(images.model_dump() | settings)


def decode_image(
    blob: bytes, name: str, policy: ImagePolicy, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decode an image file to uint8 (H, W, C): upright, its first frame, transparency over white.

    Args:
        blob: the file's bytes
        name: what an error calls the image
        policy: size and channels of the result
        max_pixels: an image that declares more is refused

    Raises:
        DataError: the file is empty, too large, or can't be decoded or brought to that size
    """
    if not blob:
        raise DataError(f"{name} is empty", "choose a file with an image in it")
    if len(blob) > MAX_BYTES:
        what = f"{name} has {len(blob):,} bytes, more than {MAX_BYTES:,}"
        raise DataError(what, "it is no small image")
    with _refusals(name):
        return decode_bytes(blob, policy, max_pixels).copy()  # torch wants to write


def _read_path(path: Path, policy: ImagePolicy) -> Inputs:
    if path.suffix in _PICKLES:
        return _read_pickle(path, policy)
    if not (is_folder(path) or path.name.endswith(ARCHIVE_SUFFIXES)):
        blob = _read_bytes(path, MAX_BYTES)
        return Inputs([str(path)], decode_image(blob, str(path), policy)[None])
    images: list[tuple[str, np.ndarray]] = []
    for member in iter_members(path):
        parts = PurePosixPath(member.path).parts
        hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
        if not member.is_folder and not hidden and SUFFIX.search(member.path):
            image = decode_image(member.read(), f"{path}: {member.path}", policy)
            images.append((member.path, image))
    require_distinct(path, (name for name, _ in images))
    if not images:
        raise DataError(f"{path} holds no image", "images end in .jpg, .png, .bmp or a variant")
    images.sort(key=lambda image: re.sub(r"\d+", _length_first, image[0]))
    return Inputs([name for name, _ in images], np.stack([image for _, image in images]))


def _length_first(digits: re.Match[str]) -> str:
    """Return a number's digits after their count, so that texts sort as numbers do."""
    number = digits[0].lstrip("0")
    return f"{len(number):09}{number}"


def _read_bytes(path: Path, limit: int) -> bytes:
    with damage_errors(f"can't read {path}", "check its name", DataError):
        return read_bytes(path, limit)


def _read_pickle(path: Path, policy: ImagePolicy) -> Inputs:
    """Read the competition's file: nyu2024's images without labels. Raises DataError."""
    content = load_pickle(_read_bytes(path, MAX_PICKLE_BYTES), str(path), _PICKLE_HINT)
    data, ids = content.get("data"), content.get("ids")
    if isinstance(data, np.ndarray) and data.shape[1:] == (3 * 32 * 32,):
        data = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    images = _conform(data, policy, _PICKLE_HINT, f"{path}: ")
    ids = ids.tolist() if isinstance(ids, np.ndarray) else ids
    if not (isinstance(ids, list) and all(map(_is_id, ids))):
        what = f"{path} holds no list of ids, each of up to {_MAX_ID_LETTERS} letters"
        raise DataError(what, _PICKLE_HINT)
    if len(ids) != len(images):
        raise DataError(f"{path} holds {len(ids)} ids for {len(images)} images", _PICKLE_HINT)
    texts = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in ids
    ]
    return Inputs(texts, images)


def _is_id(value: object) -> bool:
    is_short_text = isinstance(value, str | bytes) and len(value) <= _MAX_ID_LETTERS
    return is_short_text or isinstance(value, int)
