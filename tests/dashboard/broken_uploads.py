"""Fifty uploads that are no whole image of a sane size, and some odd ones that are."""

import gzip
import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image


def noise(height: int = 40, width: int = 60, channels: int = 3) -> Image.Image:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def frames(kind: str, **options) -> bytes:
    """Two frames, the first all red, the second all blue."""
    red, blue = (Image.new("RGB", (40, 40), name) for name in ("red", "blue"))
    return encode(red, kind, save_all=True, append_images=[blue], **options)


def chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def png_of(width: int, height: int, pixels: bytes, depth: int = 8, color_type: int = 2) -> bytes:
    """A PNG that declares a size, whatever its pixels are."""
    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    """A whole JPEG whose header declares another size."""
    blob = bytearray(encode(noise(), "JPEG"))
    marker = blob.index(b"\xff\xc0")
    blob[marker + 5 : marker + 9] = struct.pack(">HH", height, width)
    return bytes(blob)


def bmp_of(width: int, height: int) -> bytes:
    blob = bytearray(encode(noise(), "BMP"))
    blob[18:26] = struct.pack("<ii", width, height)
    return bytes(blob)


def gif_of(width: int, height: int) -> bytes:
    blob = bytearray(encode(noise(), "GIF"))
    blob[6:10] = struct.pack("<HH", width, height)
    return bytes(blob)


def tiff_of(width: int, height: int) -> bytes:
    """One strip that is not there, of a size that nobody has."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, width * height % 2**32)]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)


def webp_of(width: int, height: int) -> bytes:
    """The header of a lossless WebP."""
    size = struct.pack("<I", (width - 1) | (height - 1) << 14)
    body = b"VP8L" + struct.pack("<I", 20) + b"\x2f" + size + bytes(15)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def truncated_images() -> dict[str, bytes]:
    rgb, cmyk = noise(), noise().convert("CMYK")
    deep = Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27)
    images = {
        "jpeg": encode(rgb, "JPEG"),
        "progressive jpeg": encode(rgb, "JPEG", progressive=True),
        "cmyk jpeg": encode(cmyk, "JPEG"),
        "grey jpeg": encode(noise(channels=1), "JPEG"),
        "png": encode(rgb, "PNG"),
        "16-bit png": encode(deep, "PNG"),
        "palette png": encode(rgb.convert("P"), "PNG"),
        "bmp": encode(rgb, "BMP"),
        "webp": encode(rgb, "WEBP"),
        "lossless webp": encode(rgb, "WEBP", lossless=True),
        "ppm": encode(rgb, "PPM"),
        "tiff": encode(rgb, "TIFF"),
        "cmyk tiff": encode(cmyk, "TIFF"),
        "16-bit tiff": encode(deep, "TIFF"),
        "animated webp": frames("WEBP", lossless=True),
    }
    half = {f"half a {name}": blob[: len(blob) // 2] for name, blob in images.items()}
    heads = {
        f"the head of a {name}": images[name][:24]
        for name in ("jpeg", "png", "webp", "tiff", "bmp")
    }
    gif = encode(rgb, "GIF")
    return {**half, **heads, "the head of a gif": gif[:200], "half a gif": gif[: len(gif) // 2]}


def bombs() -> dict[str, bytes]:
    return {
        "a png of 60,000 x 60,000": png_of(60_000, 60_000, b""),
        "a real png of 4,500 x 4,500": encode(Image.new("1", (4500, 4500)), "PNG"),
        "a real png of 20,000 x 20,000": encode(Image.new("1", (20_000, 20_000)), "PNG"),
        "a png one pixel high": png_of(2**31 - 1, 1, b""),
        "a jpeg of 65,000 x 65,000": jpeg_of(65_000, 65_000),
        "a gif of 65,535 x 65,535": gif_of(65_535, 65_535),
        "a bmp of 100,000 x 100,000": bmp_of(100_000, 100_000),
        "a tiff of 2**30 x 4": tiff_of(2**30, 4),
        "a ppm of 99,999 x 99,999": b"P6 99999 99999 255\n" + b"\0" * 99,
        "a webp of 16,383 x 16,383": webp_of(16_383, 16_383),
    }


def foreign_files() -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat.png", encode(noise(), "PNG"))
    floats = Image.fromarray(np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60))
    return {
        "nothing": b"",
        "zeros": bytes(10_000),
        "random bytes": np.random.default_rng(1).bytes(10_000),
        "text": b"a photo of a cat\n" * 50,
        "a web page": b"<html><img src='cat.png'></html>",
        "an svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "a pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF",
        "a postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "a zip": archive.getvalue(),
        "a gzip of an image": gzip.compress(encode(noise(), "PNG")),
        "a pickle": pickle.dumps({"data": [1, 2, 3]}),
        "a psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(40),
        "an icon": encode(noise(32, 32), "ICO"),
        "a tga": encode(noise(), "TGA"),
        "a tiff of floats": encode(floats, "TIFF"),
    }


def damaged_images() -> dict[str, bytes]:
    png, jpeg = encode(noise(), "PNG"), encode(noise(), "JPEG")
    middle = len(png) // 2
    return {
        "a png with a flipped byte": png[:middle] + bytes([png[middle] ^ 255]) + png[middle + 1 :],
        "a png of no pixels": png_of(0, 0, b""),
        "a jpeg without tables": jpeg.replace(b"\xff\xdb", b"\xff\xfe"),
    }


def broken_uploads() -> dict[str, bytes]:
    """By name; each must be refused."""
    return {**truncated_images(), **bombs(), **foreign_files(), **damaged_images()}
