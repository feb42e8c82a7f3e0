"""What is uploaded: broken files get an error that helps, odd ones their picture."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from broken_uploads import broken_uploads, encode, frames, noise
from PIL import Image

from cifarlab.dashboard.guard import UPLOAD_BYTES
from cifarlab.dashboard.image_prediction import UPLOAD_PIXELS
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.inference.inputs import decode_image, input_policy
from cifarlab.system.errors import DataError

BROKEN = broken_uploads()
PEAK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from broken_uploads import broken_uploads
from cifarlab.system.errors import DataError
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.inference.inputs import decode_image
policy = ImagePolicy(size=32, resize_mode="crop", channels="rgb")
most, what = int(sys.argv[2]), sys.argv[3]
blobs = list(broken_uploads().values()) if what == "broken" else [open(what, "rb").read()]
open("/proc/self/clear_refs", "w").write("5")  # forget what making them took
def peak():
    return int(next(l for l in open("/proc/self/status") if "VmHWM" in l).split()[1]) / 1024
before = peak()
for blob in blobs:
    try:
        decode_image(blob, "it", policy, most)
    except DataError:
        pass
print(peak() - before)
"""


def decode_upload(
    blob: bytes, shape: tuple[int, int, int] = (32, 32, 3), resize_mode: str = "crop"
) -> np.ndarray:
    policy = input_policy(ImagePolicy(), shape, resize_mode)
    return decode_image(blob, "cat.png", policy, UPLOAD_PIXELS)


def test_there_are_fifty():
    assert len(BROKEN) == 50 and all(len(blob) <= UPLOAD_BYTES for blob in BROKEN.values())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # for the log of whoever decodes
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_upload_gets_a_clear_error(name):
    with pytest.raises(DataError) as caught:
        decode_upload(BROKEN[name])
    error = caught.value
    assert error.what.startswith("cat.png ") and len(error.what) < 200 and error.hint
    assert "data.images" not in str(error)  # whoever uploads has no recipe to change


def peak(what: object) -> float:
    """MiB that decoding adds to a process's peak."""
    arguments = [sys.executable, "-c", PEAK, str(Path(__file__).parent)]
    arguments += [str(UPLOAD_PIXELS), str(what)]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def test_broken_uploads_take_little_memory():
    assert peak("broken") < 100


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "I;16", "RGBA"])
def test_the_largest_image_takes_bounded_memory(tmp_path, mode):
    file = tmp_path / "large"
    Image.new(mode, (4096, 4096)).save(
        file,
        "TIFF" if mode == "CMYK" else "PNG",
        **({"compression": "tiff_deflate"} if mode == "CMYK" else {}),
    )
    assert file.stat().st_size < UPLOAD_BYTES
    assert 16 < peak(file) < 600


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_seen(kind):
    image = decode_upload(frames(kind))
    assert image[..., 0].min() > 200 and image[..., 2].max() < 60


def test_cmyk_keeps_its_colors():
    image = decode_upload(encode(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "TIFF"))  # red
    assert image[..., 0].min() > 200 and image[..., 1:].max() < 80


def test_16_bits_are_scaled_not_clipped():
    deep = Image.fromarray(np.full((40, 40), 257 * 100, np.uint16))
    assert (decode_upload(encode(deep, "PNG")) == 100).all()


def test_transparency_is_white():
    assert (decode_upload(encode(Image.new("RGBA", (40, 40), (9, 9, 9, 0)), "PNG")) == 255).all()


def test_a_palette_keeps_its_colors():
    image = Image.new("RGB", (40, 40), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert (decode_upload(encode(image, "PNG")) == (10, 200, 30)).all()


def test_a_photo_is_turned_upright():
    tall = Image.new("RGB", (40, 80), "black")
    tall.paste("red", (0, 0, 40, 40))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise: the red half goes to the right
    image = decode_upload(encode(tall, "JPEG", exif=exif, quality=95))
    assert image[:, -4:, 0].min() > 200 and image[:, :4, 0].max() < 60


def test_the_short_side_is_scaled_and_the_centre_cropped():
    wide = Image.new("RGB", (96, 32), "white")
    wide.paste("red", (32, 0, 64, 32))
    assert (decode_upload(encode(wide, "PNG")) == (255, 0, 0)).all()


def test_the_recipes_own_way_to_fit_is_followed():
    wide = Image.new("RGB", (64, 32), "white")
    image = decode_upload(encode(wide, "PNG"), resize_mode="pad")
    assert (image[:8] == 0).all() and (image[8:24] == 255).all()


def test_channels_follow_the_network():
    assert decode_upload(encode(noise(), "PNG"), (8, 8, 1)).shape == (8, 8, 1)
    grey = decode_upload(encode(noise(channels=1), "PNG"))
    assert grey.shape == (32, 32, 3) and (grey == grey[..., :1]).all()


def test_an_image_of_the_right_size_is_not_touched():
    image = noise(32, 32)
    assert (decode_upload(encode(image, "PNG")) == np.asarray(image)).all()
