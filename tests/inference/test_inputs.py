"""What can be predicted, in which order and under which ids; fifty ways to be refused."""

import builtins
import io
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarlab.data.image_policy import MAX_BYTES, ImagePolicy
from cifarlab.inference.inputs import array_inputs, read_inputs
from cifarlab.system.errors import DataError

RGB = ImagePolicy(size=32, resize_mode="crop", channels="rgb")
GREY = ImagePolicy(size=8, resize_mode="crop", channels="grey")
EXACT = ImagePolicy(size=32, resize_mode="error", channels="rgb")


def draw_picture(number: int = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    draws = np.random.default_rng(number)
    return Image.fromarray(draws.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def encode(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def write_file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_keep_their_order_and_pixels(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{n}.png", encode(draw_picture(n))) for n in (3, 1, 2)]
    inputs = read_inputs(paths, EXACT)
    assert inputs.ids == [str(path) for path in paths]
    for number, image in zip((3, 1, 2), inputs.images, strict=True):
        assert np.array_equal(image, np.asarray(draw_picture(number)))


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1, 2):
        write_file(tmp_path / f"{number}.png", encode(draw_picture(number)))
    write_file(tmp_path / "deeper" / "0.png", encode(draw_picture(0)))
    write_file(tmp_path / "notes.txt", b"no image")
    write_file(tmp_path / ".hidden.png", b"no image")
    inputs = read_inputs([tmp_path], EXACT)
    assert inputs.ids == ["1.png", "2.png", "9.png", "10.png", "deeper/0.png"]
    assert np.array_equal(inputs.images[3], np.asarray(draw_picture(10)))


def test_archives_are_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b/2.png", encode(draw_picture(2)))
        archive.writestr("b/1.png", encode(draw_picture(1)))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        write_file(tmp_path / "3.png", encode(draw_picture(3)))
        archive.add(tmp_path / "3.png", "c/3.png")
    inputs = read_inputs([tmp_path / "a.zip", tmp_path / "a.tar"], EXACT)
    assert inputs.ids == ["b/1.png", "b/2.png", "c/3.png"]
    assert np.array_equal(inputs.images[2], np.asarray(draw_picture(3)))


def test_images_are_brought_to_the_size_as_in_training(tmp_path: Path) -> None:
    from cifarlab_serve.images import decode_bytes

    blob = encode(draw_picture(0, (50, 40)))
    path = write_file(tmp_path / "a.png", blob)
    for resize_mode in ("crop", "pad", "stretch"):
        policy = ImagePolicy(size=32, resize_mode=resize_mode, channels="rgb")
        expected = np.frombuffer(decode_bytes(blob, policy).data, np.uint8).reshape(32, 32, 3)
        assert np.array_equal(read_inputs([path], policy).images[0], expected)
    assert read_inputs([path], GREY).images.shape == (1, 8, 8, 1)
    with pytest.raises(DataError, match="is 50x40, not 32x32") as refused:
        read_inputs([path], EXACT)
    assert "--resize-mode" in refused.value.hint


def draw_pixels(n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3072), dtype=np.uint8)


@pytest.mark.parametrize("key", [str, str.encode], ids=["text", "bytes"])
@pytest.mark.parametrize(
    "ids", [[7, 5, 6, 4], np.array([7, 5, 6, 4]), ["7", "5", "6", "4"], [b"7", b"5", b"6", b"4"]]
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_competitions_pickle(tmp_path: Path, key, ids, protocol: int) -> None:
    data = draw_pixels()
    content = pickle.dumps({key("data"): data, key("ids"): ids}, protocol)
    inputs = read_inputs([write_file(tmp_path / "test.pkl", content)], EXACT)
    assert inputs.ids == ["7", "5", "6", "4"]
    for row, image in zip(data, inputs.images, strict=True):
        for channel in range(3):
            plane = row[1024 * channel : 1024 * (channel + 1)].reshape(32, 32)
            assert np.array_equal(image[..., channel], plane)


def test_a_pickle_of_whole_images(tmp_path: Path) -> None:
    data = draw_pixels().reshape(4, 32, 32, 3)
    content = pickle.dumps({"data": data, "ids": list(range(4))})
    inputs = read_inputs([write_file(tmp_path / "test.pickle", content)], EXACT)
    assert np.array_equal(inputs.images, data)


class Evil:
    def __reduce__(self):
        return exec, ("import builtins; builtins.was_here = True",)


PICKLES = {
    "runs a command": {"data": Evil(), "ids": [1]},
    "no dictionary": [1, 2],
    "no data": {"ids": [1]},
    "no ids": {"data": draw_pixels(1)},
    "too few ids": {"data": draw_pixels(2), "ids": [1]},
    "ids of another kind": {"data": draw_pixels(1), "ids": [1.5]},
    "floats": {"data": draw_pixels(1).astype(float), "ids": [1]},
    "another shape": {"data": draw_pixels(1)[:, :3000], "ids": [1]},
    "no images": {"data": draw_pixels(0), "ids": []},
    "a list": {"data": draw_pixels(1).tolist(), "ids": [1]},
    "objects": {"data": np.array([None]), "ids": [1]},
}


@pytest.mark.parametrize("name", PICKLES)
def test_other_pickles_are_refused_and_run_nothing(tmp_path: Path, name: str) -> None:
    path = write_file(tmp_path / "a.pkl", pickle.dumps(PICKLES[name]))
    with pytest.raises(DataError, match=r"a\.pkl"):
        read_inputs([path], EXACT)
    assert not hasattr(builtins, "was_here")


@pytest.mark.parametrize("length", [0, 1, 20, 200, 3000])
def test_a_pickle_cut_short(tmp_path: Path, length: int) -> None:
    content = pickle.dumps({"data": draw_pixels(1), "ids": [1]})[:length]
    with pytest.raises(DataError, match=r"a\.pkl"):
        read_inputs([write_file(tmp_path / "a.pkl", content)], EXACT)


def png_that_declares(width: int, height: int) -> bytes:
    """A small file with a huge header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


BROKEN = {
    "empty": b"",
    "text": b"hello",
    "html": b"<html></html>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "pdf": b"%PDF-1.4",
    "a pickle": pickle.dumps(Evil()),
    "a zip": b"PK\x03\x04" + bytes(100),
    "a bomb of 50,000 squared": png_that_declares(50_000, 50_000),
    "a bomb of 9,000 squared": png_that_declares(9_000, 9_000),
    "no width": png_that_declares(0, 10),
    "floats": encode(Image.fromarray(np.zeros((32, 32), np.float32)), "TIFF"),
    **{f"png cut at {n}": encode(draw_picture())[:n] for n in (4, 8, 20, 33, 60, 500)},
    **{f"jpeg cut at {n}": encode(draw_picture(), "JPEG")[:n] for n in (2, 10, 100, 300)},
    **{f"gif cut at {n}": encode(draw_picture(), "GIF")[:n] for n in (3, 8, 100)},
    **{f"webp cut at {n}": encode(draw_picture(), "WEBP")[:n] for n in (5, 20, 100)},
    **{f"bmp cut at {n}": encode(draw_picture(), "BMP")[:n] for n in (1, 20, 400)},
    **{f"tiff cut at {n}": encode(draw_picture(), "TIFF")[:n] for n in (2, 8, 400)},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_named_and_takes_little_memory(tmp_path: Path, name: str) -> None:
    path = write_file(tmp_path / "a.png", BROKEN[name])
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.png"):
        read_inputs([path], RGB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


UNUSUAL = {
    "cmyk": encode(draw_picture().convert("CMYK"), "JPEG"),
    "palette": encode(draw_picture().convert("P"), "PNG"),
    "transparent": encode(draw_picture().convert("RGBA"), "PNG"),
    "grey": encode(draw_picture().convert("L"), "PNG"),
    "one bit": encode(draw_picture().convert("1"), "PNG"),
    "16 bits": encode(Image.fromarray(np.full((32, 32), 40_000, np.uint16)), "PNG"),
    "animated": encode(draw_picture(), "GIF", save_all=True, append_images=[draw_picture(1)]),
    "one pixel": encode(draw_picture(0, (1, 1))),
    "very wide": encode(draw_picture(0, (2000, 2))),
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("policy", [RGB, GREY], ids=["rgb", "grey"])
def test_unusual_images_are_read(tmp_path: Path, name: str, policy: ImagePolicy) -> None:
    inputs = read_inputs([write_file(tmp_path / "a.png", UNUSUAL[name])], policy)
    channels = 3 if policy.channels == "rgb" else 1
    assert inputs.images.shape == (1, policy.size, policy.size, channels)
    assert inputs.images.dtype == np.uint8


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match="bytes, more than"):
        read_inputs([path], RGB)
    with pytest.raises(DataError, match="bytes, more than"):
        read_inputs([tmp_path], RGB)


def test_what_is_not_there(tmp_path: Path) -> None:
    for paths, message in (
        ([tmp_path / "none.png"], "can't read"),
        ([tmp_path / "none.pkl"], "can't read"),
        ([tmp_path], "holds no image"),
        ([], "no image to predict"),
    ):
        with pytest.raises(DataError, match=message):
            read_inputs(paths, RGB)


def test_a_folder_with_a_broken_image_names_it(tmp_path: Path) -> None:
    write_file(tmp_path / "1.png", encode(draw_picture()))
    write_file(tmp_path / "2.png", b"no")
    with pytest.raises(DataError, match=r"2\.png can't be decoded"):
        read_inputs([tmp_path], RGB)


def test_what_may_never_end_is_no_input(tmp_path: Path) -> None:
    for name in ("pipe.png", "pipe.zip", "pipe.pkl"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match="it is a pipe, no plain file\nsave its content"):
            read_inputs([tmp_path / name], EXACT)
    for path in ("/dev/zero", "x" * 300):
        with pytest.raises(DataError, match="can't read"):
            read_inputs([path], EXACT)


def test_names_of_very_many_digits_have_an_order(tmp_path: Path) -> None:
    names = ["2.png", "010.png", f"{'9' * 5000}.png", f"1{'0' * 5000}.png"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in reversed(names):
            file.writestr(name, encode(draw_picture()))
    assert read_inputs([tmp_path / "a.zip"], EXACT).ids == names


@pytest.mark.parametrize("order", "<>=")
def test_a_pickle_whose_bytes_have_an_order(tmp_path: Path, order: str) -> None:
    content = pickle.dumps({"data": draw_pixels(), "ids": [1, 2, 3, 4]}, 4)
    other_content = content.replace(b"\x8c\x01|", b"\x8c\x01" + order.encode())
    assert other_content != content
    image_sets = [
        read_inputs([write_file(tmp_path / name, blob)], GREY).images
        for name, blob in (("a.pkl", content), ("b.pkl", other_content))
    ]
    assert np.array_equal(*image_sets)


@pytest.mark.parametrize("ids", [["x" * 2000], [b"x" * 2000], [2**70]])
def test_ids_that_nobody_writes(tmp_path: Path, ids: list) -> None:
    path = write_file(tmp_path / "a.pkl", pickle.dumps({"data": draw_pixels(1), "ids": ids}))
    with pytest.raises(DataError, match=r"a\.pkl"):
        read_inputs([path], EXACT)


def test_one_large_id_again_and_again_takes_little_memory(tmp_path: Path) -> None:
    ids = [b"x" * 10**6] * 100
    path = write_file(tmp_path / "a.pkl", pickle.dumps({"data": draw_pixels(100), "ids": ids}))
    tracemalloc.start()
    with pytest.raises(DataError, match="1000 letters"):
        read_inputs([path], EXACT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_arrays_that_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"of shape \(0, 32, 32, 3\)\ngive uint8"):
        array_inputs(np.zeros((0, 32, 32, 3), np.uint8), EXACT)
    with pytest.raises(DataError, match=r"is 8x8, not 32x32\nset resize_mode=crop"):
        array_inputs(np.zeros((1, 8, 8, 3), np.uint8), EXACT)


def test_a_file_that_is_in_an_archive_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b/1.png", encode(draw_picture(1)))
        archive.writestr("./b/1.png", encode(draw_picture(2)))
    with pytest.raises(DataError, match=r"'b/1\.png' is there twice"):
        read_inputs([tmp_path / "a.zip"], EXACT)


def test_a_lack_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    write_file(tmp_path / "1.png", encode(draw_picture()))
    monkeypatch.setattr("cifarlab.inference.inputs.decode_bytes", fail)
    with pytest.raises(MemoryError):
        read_inputs([tmp_path], EXACT)
