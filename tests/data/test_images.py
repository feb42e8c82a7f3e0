"""Every kind of image file, and what the policy makes of it."""

import io
import struct
import zlib

import numpy as np
import pytest
from made_sources import bomb, encoded, png
from PIL import Image

from cifarlab.data.image_policy import ImagePolicy
from cifarlab_serve.images import MAX_SCANS, BrokenError, RefusedError, conform_images, decode_bytes

AS_IS = ImagePolicy()
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def pixels(blob: bytes, policy: ImagePolicy = AS_IS) -> np.ndarray:
    decoded = decode_bytes(blob, policy)
    assert decoded.dtype == np.uint8 and decoded.ndim == 3
    return decoded


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_keep_each_pixel(kind):
    color = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(color), kind, **options)), color)


def test_jpeg_is_as_pillow_decodes_it():
    blob = encoded(Image.fromarray(np.stack([RAMP] * 3, -1)), "JPEG")
    np.testing.assert_array_equal(pixels(blob), np.asarray(Image.open(io.BytesIO(blob))))


def test_grey_stays_grey_and_policy_decides_otherwise():
    blob = encoded(Image.fromarray(RAMP))
    np.testing.assert_array_equal(pixels(blob), RAMP[..., None])
    rgb = pixels(blob, ImagePolicy(channels="rgb"))
    np.testing.assert_array_equal(rgb, np.stack([RAMP] * 3, -1))
    assert pixels(png(3), ImagePolicy(channels="grey")).shape == (8, 8, 1)


def test_black_and_white():
    bits = Image.fromarray((RAMP > 100).astype(np.uint8) * 255).convert("1")
    np.testing.assert_array_equal(pixels(encoded(bits))[..., 0], (RAMP > 100) * 255)


def test_a_palette_becomes_rgb():
    image = Image.fromarray(np.stack([RAMP, 255 - RAMP, RAMP], -1)).quantize(64)
    np.testing.assert_array_equal(pixels(encoded(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_blended_over_white(mode):
    image = Image.new(mode, (8, 8), (0,) * (len(mode) - 1) + (0,))
    image.putpixel((0, 0), (0,) * (len(mode) - 1) + (255,))
    decoded = pixels(encoded(image))
    assert decoded.shape[2] == {"RGBA": 3, "LA": 1}[mode]
    assert (decoded[0, 0] == 0).all() and (decoded[1:] == 255).all()


def test_half_transparency_is_half_white():
    assert (pixels(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 51)))) == 204).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparency_becomes_white(mode):
    image = Image.new(mode, (8, 8), 0)
    clear = (0, 0, 0) if mode == "RGB" else 0
    assert (pixels(encoded(image, transparency=clear)) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    deep = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    decoded = pixels(encoded(Image.fromarray(deep), kind))
    np.testing.assert_array_equal(decoded[..., 0], np.rint(deep / 257))


def test_sixteen_bits_of_pgm():
    deep = np.linspace(0, 65535, 64).round().astype(">u2").reshape(8, 8)
    decoded = pixels(b"P5\n8 8\n65535\n" + deep.tobytes())
    np.testing.assert_array_equal(decoded[..., 0], np.rint(deep / 257))


def test_a_transparent_sixteen_bit_grey_becomes_white():
    deep = Image.fromarray(np.full((8, 8), 4660, dtype=np.uint16))
    assert (pixels(encoded(deep, transparency=4660)) == 255).all()


def test_cmyk_and_ycbcr_are_converted():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert pixels(encoded(cmyk, "TIFF"))[0, 0].tolist() == [255, 0, 0]
    assert pixels(encoded(cmyk, "JPEG", quality=100)).shape == (8, 8, 3)


def test_floating_point_is_refused():
    with pytest.raises(BrokenError, match="no agreed range"):
        pixels(encoded(Image.new("F", (8, 8)), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(kind):
    wide = np.zeros((8, 16), dtype=np.uint8)
    wide[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    image = Image.fromarray(np.stack([wide] * 3, -1))
    decoded = pixels(encoded(image, kind, exif=exif), ImagePolicy(size=16, resize_mode="stretch"))
    assert decoded[0].mean() < 40 and decoded[-1].mean() > 215


def test_first_frame_of_an_animation():
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    blob = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (pixels(blob) == 10).all()


def test_fits():
    image = Image.new("RGB", (16, 8), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 4, 8))
    blob = encoded(image)
    crop = pixels(blob, ImagePolicy(size=8, resize_mode="crop"))
    pad = pixels(blob, ImagePolicy(size=16, resize_mode="pad"))
    stretch = pixels(blob, ImagePolicy(size=16, resize_mode="stretch"))
    assert (crop == 255).all(), "the black quarter lies outside the centre"
    assert (pad[:4] == 0).all() and (pad[12:] == 0).all() and (pad[6:10, 8:] == 255).all()
    assert (stretch[:, 8:] == 255).all() and (stretch[:, :2] == 0).all()


def test_sizes_that_are_refused():
    with pytest.raises(RefusedError, match="16x8, which is not square"):
        decode_bytes(png(size=(16, 8)), AS_IS)
    for side in (7, 97):
        with pytest.raises(RefusedError, match=f"{side}x{side}; sides from 8 to 96"):
            decode_bytes(png(size=(side, side)), AS_IS)
    with pytest.raises(RefusedError, match="is 8x8, not 16x16") as refused:
        decode_bytes(png(), ImagePolicy(size=16))
    assert "data.images.resize_mode" in refused.value.hint


def test_a_decompression_bomb_is_refused_by_what_it_declares():
    with pytest.raises(RefusedError, match="too many pixels") as refused:
        decode_bytes(bomb(20_000), AS_IS)
    assert not isinstance(refused.value, BrokenError), "skipping must not hide an attack"
    with pytest.raises(RefusedError, match="9000x9000 pixels"):
        decode_bytes(bomb(9_000), AS_IS)


def test_a_jpeg_of_endless_scans_is_refused():
    blob = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    head, scan, end = (
        blob[: blob.rindex(b"\xff\xda")],
        blob[blob.rindex(b"\xff\xda") : -2],
        blob[-2:],
    )
    endless = head + scan * MAX_SCANS + end  # each of 4,096 pixels
    assert pixels(endless).shape == (64, 64, 1)
    what = f"draws 64x64 pixels {MAX_SCANS + 5} times over"
    with pytest.raises(RefusedError, match=what) as refused:
        decode_bytes(endless, AS_IS, 64 * 64)
    assert not isinstance(refused.value, BrokenError)


def tiled(width: int, height: int) -> bytes:
    """A grey TIFF of 8 x 8 pixels out of one deflated tile of that size, which holds 16 x 16."""
    content = zlib.compress(bytes([77]) * 256)
    tags = [(256, 8), (257, 8), (258, 8), (259, 8), (262, 1), (277, 1), (322, width), (323, height)]
    tags += [(324, 14 + 12 * 10), (325, len(content))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + content


def test_a_tile_far_larger_than_its_image_is_refused_too():
    assert (pixels(tiled(16, 16)) == 77).all()
    with pytest.raises(RefusedError, match="16384x16384 pixels"):
        decode_bytes(tiled(2**14, 2**14), AS_IS)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
CUT = [blob[: len(blob) // 2] for blob in (encoded(NOISE, kind) for kind in ("PNG", "JPEG", "BMP"))]


@pytest.mark.parametrize("blob", [b"", b"no image", png()[:20], *CUT])
def test_what_is_no_image_is_broken(blob):
    with pytest.raises(BrokenError, match="can't be decoded"):
        decode_bytes(blob, AS_IS)


def test_decoded_images_conform_too():
    grey = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    assert conform_images(grey, AS_IS) is grey
    assert conform_images(grey, ImagePolicy(size=8, channels="grey")) is grey
    wide = conform_images(grey, ImagePolicy(channels="rgb"))
    np.testing.assert_array_equal(wide, np.repeat(grey, 3, axis=3))
    assert conform_images(
        wide, ImagePolicy(size=32, resize_mode="stretch", channels="grey")
    ).shape == (
        3,
        32,
        32,
        1,
    )
    with pytest.raises(RefusedError, match="is 8x8, not 32x32"):
        conform_images(grey, ImagePolicy(size=32))
