"""Decode an image file to uint8 pixels, a pure function of its bytes and an ``ImagePolicy``."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL import WebPImagePlugin as WebPImagePlugin

Image.preinit()  # and the plug-ins above make all of FORMATS; Image.init() would load fifty
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 2**26
MAX_SCANS = 16  # of the largest image; a progressive photo has about ten
MIN_SIDE, MAX_SIDE = 8, 96  # the sides that ImagePolicy.size allows
_ORIENTATION_KEYS = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
_GREY_MODES = {"1", "L", "LA", "La"}
_SET_SIZE = (
    "set data.images.size and data.images.resize_mode to have all images brought to one size"
)


class Policy(Protocol):
    """What an image is brought to: an ``ImagePolicy``, or what an exported file says of one."""

    @property
    def size(self) -> int | None:
        """Return the side in pixels; None: as it is."""

    @property
    def resize_mode(self) -> str:
        """Return error, crop, pad or stretch."""

    @property
    def channels(self) -> str:
        """Return auto, grey or rgb."""


class RefusedError(Exception):
    """An image is refused; a caller that knows the file's name makes a DataError of it."""

    def __init__(self, what: str, hint: str, size: tuple[int, int] = (0, 0)) -> None:
        super().__init__(what, hint)
        self.what, self.hint, self.size = what, hint, size


class SizeError(RefusedError):
    """An image has a width and height, ``size``, that the policy refuses."""


class BrokenError(RefusedError):
    """A file can't be decoded; ``images.on_bad_images`` decides whether that stops everything."""


def decode_bytes(blob: bytes, policy: Policy, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file to uint8 (H, W, C); under ``channels: auto`` C is 1 if it is grey.

    Args:
        blob: the file's content
        policy: the size and channels of the result
        max_pixels: the largest number of pixels of an image, or of a tile of it, that is decoded

    Raises:
        BrokenError: Pillow can't decode it
        SizeError: its size is not the policy's
        RefusedError: it declares more than ``max_pixels`` pixels, or is a JPEG whose scans draw
            more than ``MAX_SCANS`` times as many; it is not decoded
    """
    return decode_opened(open_bytes(blob, max_pixels), policy)


def open_bytes(blob: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read what an image file declares; its pixels stay undecoded. As ``decode_bytes``."""
    with _refusing():
        file = Image.open(io.BytesIO(blob), formats=FORMATS)
        _refuse_bomb(file, blob, max_pixels)
        return file


def decode_opened(file: Image.Image, policy: Policy) -> np.ndarray:
    """Decode what ``open_bytes`` opened. As ``decode_bytes``."""
    with _refusing():
        image = _apply_policy(_to_plain_mode(_apply_orientation(file)), policy)
        pixels = np.frombuffer(image.tobytes(), dtype=np.uint8)
        return pixels.reshape(image.height, image.width, -1)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what Pillow raises into BrokenError and RefusedError."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RefusedError(f"declares too many pixels: {error}", "remove it or scale it") from error
    except RefusedError:
        raise
    # Decoders of hostile bytes fail with whatever their parser meets: struct.error, KeyError, ...
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is no image of a known format"
        raise BrokenError(
            f"can't be decoded: {reason}",
            "mend or remove it, or set data.images.on_bad_images=skip to leave out such files",
        ) from error


def conform_images(images: np.ndarray, policy: Policy) -> np.ndarray:
    """Bring decoded images, uint8 (N, H, W, C), to the policy's size and channels.

    For sources without image files.

    Raises:
        RefusedError: the policy refuses their size
    """
    n, height, width, channels = images.shape
    if policy.size is None:
        _refuse_shape((width, height))
    same_size = policy.size is None or (height, width) == (policy.size, policy.size)
    if same_size and policy.channels in ("auto", {1: "grey", 3: "rgb"}[channels]):
        return images
    resized = []
    for array in images:
        image = Image.fromarray(array[..., 0] if channels == 1 else array)
        image = _apply_policy(image, policy)
        resized.append(np.asarray(image).reshape(image.height, image.width, -1))
    return np.stack(resized) if n else images


def declared_pixels(image: Image.Image) -> int:
    """Return how many pixels have to be decoded at once."""
    return max(width * height for width, height in _declared_sizes(image))


def _declared_sizes(image: Image.Image) -> list[tuple[int, int]]:
    sizes = [image.size]
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # its tiles may be far larger than it
        tags = (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
        sizes.append((image.tag_v2.get(tags[0], 0), image.tag_v2.get(tags[1], 0)))
    return sizes


def _refuse_bomb(image: Image.Image, blob: bytes, max_pixels: int) -> None:
    """Raise RefusedError for what would take hours or gigabytes to decode."""
    hint = "remove it or save it anew, scaled down"
    for width, height in _declared_sizes(image):
        if width * height > max_pixels:
            raise RefusedError(f"declares {width}x{height} pixels, more than {max_pixels:,}", hint)
    # A scan of nothing takes 30 bytes, and a pass over all pixels: hours in a few MiB.
    is_jpeg = image.format in ("JPEG", "MPO")
    scans = blob.count(b"\xff\xda") if is_jpeg else 0  # within a scan a zero follows a byte 255
    if scans * image.width * image.height > MAX_SCANS * max_pixels:
        what = f"draws {image.width}x{image.height} pixels {scans:,} times over"
        raise RefusedError(what, hint)


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, if there may be one: to look for it costs more than to decode."""
    if image.format == "TIFF" or not _ORIENTATION_KEYS.isdisjoint(image.info):
        return ImageOps.exif_transpose(image)
    return image


def _to_plain_mode(image: Image.Image) -> Image.Image:
    """Return the first frame in mode L or RGB, with transparency blended over white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):
        return _to_eight_bits(image)
    mode = "L" if image.mode in _GREY_MODES else "RGB"
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return image.convert(mode)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255, rounded: Pillow itself clips at 255."""
    values, transparent = np.asarray(image), image.info.get("transparency")
    scaled = np.empty(values.shape, np.uint8)
    for strip, target in zip(_strips(values), _strips(scaled), strict=True):  # a few MB each
        clipped = strip.astype(np.int32).clip(0, 65535)
        target[:] = (clipped * 255 + 32767) // 65535
        if isinstance(transparent, int):
            target[clipped == transparent] = 255
    return Image.fromarray(scaled)


def _strips(values: np.ndarray) -> list[np.ndarray]:
    """Return views of some rows each."""
    return np.array_split(values, 1 + values.size // 2**18)


def _apply_policy(image: Image.Image, policy: Policy) -> Image.Image:
    """Bring an image of mode L or RGB to the policy's channels and size. Raises SizeError."""
    mode, side = {"auto": image.mode, "grey": "L", "rgb": "RGB"}[policy.channels], policy.size
    image = image if image.mode == mode else image.convert(mode)
    if side is None:
        _refuse_shape(image.size)
    elif image.size != (side, side):
        if policy.resize_mode == "error":
            what = f"is {image.width}x{image.height}, not {side}x{side}"
            hint = "set data.images.resize_mode=crop (or pad, stretch), or scale them yourself"
            raise SizeError(what, hint, image.size)
        image = _RESIZERS[policy.resize_mode](image, side)
    return image


def _refuse_shape(size: tuple[int, int]) -> None:
    width, height = size
    if width != height:
        raise SizeError(f"is {width}x{height}, which is not square", _SET_SIZE, size)
    if not MIN_SIDE <= width <= MAX_SIDE:
        what = f"is {width}x{height}; sides from {MIN_SIDE} to {MAX_SIDE} can be used"
        raise SizeError(what, _SET_SIZE, size)


_BICUBIC = Image.Resampling.BICUBIC
_RESIZERS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "crop": lambda image, side: ImageOps.fit(image, (side, side), _BICUBIC),
    "pad": lambda image, side: ImageOps.pad(image, (side, side), _BICUBIC, color=0),
    "stretch": lambda image, side: image.resize((side, side), _BICUBIC),
}
