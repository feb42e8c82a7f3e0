"""One image from anywhere, made what a network takes: for prediction, one file at a time."""

import numpy as np

from cifarlab.data.images import MAX_PIXELS, BrokenError, RefusedError, decode
from cifarlab.errors import DataError
from cifarlab.recipe.images import ImagePolicy


def as_input(
    blob: bytes,
    policy: ImagePolicy,
    image_shape: tuple[int, int, int],
    *,
    name: str = "the image",
    most: int = MAX_PIXELS,
) -> np.ndarray:
    """A file's bytes as a uint8 image of ``image_shape`` (H, W, C), H = W.

    Upright, its first frame, transparency over white; brought to size as ``policy`` says, or, where
    that refuses other sizes, by scaling the short side and cropping the centre. Raises DataError,
    with ``name``, for what is no whole image or declares more than ``most`` pixels.
    """
    side, _, channels = image_shape
    fitting = {
        "size": side,
        "fit": "crop" if policy.fit == "error" else policy.fit,
        "channels": "grey" if channels == 1 else "rgb",
    }
    if not blob:
        raise DataError(f"{name} is empty", "choose a file with an image in it")
    try:
        pixels = decode(blob, policy.model_copy(update=fitting), most)
    except BrokenError as error:
        raise DataError(f"{name} {error.what}", "choose another file, or mend this one") from error
    except RefusedError as error:
        raise DataError(f"{name} {error.what}", error.hint) from error
    return np.frombuffer(pixels.data, np.uint8).reshape(image_shape).copy()  # torch wants to write
