"""Image files of every kind that asks something of whoever decodes them."""

import io

import numpy as np
from PIL import Image


def as_file(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels(*shape: int, highest: int = 256, dtype: type = np.uint8) -> np.ndarray:
    """Random pixels, always the same."""
    return np.random.default_rng(0).integers(0, highest, shape).astype(dtype)


def image_files() -> dict[str, bytes]:
    """A file of each kind, by its name."""
    rgb = Image.fromarray(pixels(9, 14, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # it lies on its side
    return {
        "fits.png": as_file(Image.fromarray(pixels(8, 8))),
        "grey.png": as_file(Image.fromarray(pixels(31, 17))),
        "rgb.png": as_file(rgb),
        "rgba.png": as_file(Image.fromarray(pixels(20, 30, 4))),
        "palette.gif": as_file(rgb.convert("P"), "GIF", transparency=3),
        "grey16.png": as_file(Image.fromarray(pixels(12, 10, highest=2**16, dtype=np.uint16))),
        "exif.jpg": as_file(rgb, "JPEG", exif=exif),
        "small.bmp": as_file(Image.fromarray(pixels(3, 5, 3)), "BMP"),
    }
