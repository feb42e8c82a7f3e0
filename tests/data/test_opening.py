"""The line that says what was found in a source, and what is noticed about its images."""

import pickle

import numpy as np
import pytest
from made_sources import as_folder, as_tar, batch, cifar10_files, class_folders, encoded, png
from PIL import Image

from cifarlab.data.config import Data
from cifarlab.data.opening import open_data, open_dataset
from cifarlab.data.splits import test_subset, training_subsets


def logged_lines(path, **settings) -> list[str]:
    lines: list[str] = []
    open_data(Data(source=str(path), **settings), log=lines.append)
    return lines


def test_the_line_counts_what_training_validation_and_test_get(tmp_path):
    files = class_folders({"train": 10, "test": 3}, ("cat", "dog", "emu"))
    path = as_folder(tmp_path / "pets", files)
    line = "3 classes: cat, dog, emu; 27 train + 3 val + 9 test images of 8 x 8, colour"
    assert logged_lines(path) == [line]
    without = line.replace("27 train + 3 val", "30 train")
    assert logged_lines(path, val_fraction=0) == [without]
    assert logged_lines(path, val_fraction=0, train_subset_fraction=0.5)[0] == without.replace(
        "30", "15"
    )


@pytest.mark.parametrize(
    "settings", [{}, {"val_fraction": 0.3, "test_fraction": 0.5, "split_seed": 3}]
)
def test_a_test_part_that_is_cut_off_is_counted(settings):
    [line] = logged_lines("digits", **settings)
    dataset, data = open_dataset("digits"), Data(source="digits", **settings)
    training, validation = training_subsets(dataset, data)
    sizes = [len(training), len(validation), len(test_subset(dataset, data))]
    parts = zip(sizes, ("train", "val", "test"), strict=True)
    words = " + ".join(f"{size:,} {part}" for size, part in parts)
    assert line == f"10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; {words} images of 8 x 8, grey"


def test_the_test_split_stays_closed(tmp_path):
    """Its size was written down when it was decoded."""
    path = as_folder(tmp_path / "pets", class_folders({"train": 10, "test": 3}))
    dataset = open_dataset(str(path))
    for file in dataset.folder.glob("test.*"):
        file.unlink()
    assert "+ 6 test images" in open_data(Data(source=str(path))).summary()[0]


def test_what_was_skipped_is_counted(tmp_path):
    broken = {f"cat/x{k}.png": b"" for k in range(3)}
    path = as_folder(tmp_path / "pets", class_folders({"": 10}) | broken)
    assert logged_lines(path, images={"on_bad_images": "skip"})[0].endswith(
        "of 8 x 8, colour; 3 skipped"
    )


def test_many_or_long_class_names_are_cut_short(tmp_path):
    names = tuple(f"class number {k:02}" for k in range(26))
    [line] = logged_lines(as_tar(tmp_path / "a.tar", class_folders({"": 10}, names)))
    assert line.startswith("26 classes: class number 00, class number 01, class number 02, ")
    assert ", ...; " in line and "class number 04" not in line
    [line] = logged_lines(as_tar(tmp_path / "b.tar", class_folders({"": 10}, ("a" * 90, "b" * 90))))
    assert line.startswith(f"2 classes: {'a' * 60}, ...; ")


GREY = "note: all images are grey, stored in colour: data.images.channels=grey"


def grey_files(splits=("train",), odd: str = "") -> dict[str, bytes]:
    """Grey images stored as RGB, in PNG and in JPEG; ``odd``: one with a coloured pixel."""
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    files = {}
    for k in range(10):
        image = Image.fromarray(np.stack([ramp + k] * 3, -1))
        for split in splits:
            files |= {
                f"{split}/a/{k}.png": encoded(image),
                f"{split}/b/{k}.jpg": encoded(image, "JPEG"),
            }
    return files | ({odd: png(3)} if odd else {})


def test_grey_images_stored_as_rgb_are_noticed(tmp_path):
    path = as_folder(tmp_path / "grey", grey_files(("train", "val", "test")))
    line, note = logged_lines(path)
    assert line.endswith("of 8 x 8, colour") and note.startswith(GREY)
    assert [
        line.endswith("8 x 8, grey") for line in logged_lines(path, images={"channels": "grey"})
    ] == [True]
    assert len(logged_lines(path, images={"channels": "rgb"})) == 1  # asked for


@pytest.mark.parametrize("odd", ["train/a/0.png", "train/b/z.png", "val/b/z.png"])
def test_one_coloured_image_is_enough(tmp_path, odd):
    assert len(logged_lines(as_folder(tmp_path / "odd", grey_files(("train", "val"), odd)))) == 1


def test_a_color_image_at_the_end_of_many(tmp_path, monkeypatch):
    monkeypatch.setattr("cifarlab.data.dataset._CHUNK", 3)
    files = grey_files(("train",), "train/b/z.png")
    assert len(logged_lines(as_folder(tmp_path / "odd", files))) == 1
    assert len(logged_lines(as_folder(tmp_path / "grey", grey_files()))) == 2


def test_images_of_an_official_archive_are_looked_at_too(tmp_path):
    def grey(content: dict) -> bytes:
        content["data"] = np.tile(content["data"][:, :1024], 3)
        return pickle.dumps(content)

    files = cifar10_files()
    for k in range(5):
        files[f"cifar-10-batches-py/data_batch_{k + 1}"] = grey(batch(20, k, labels=10))
    assert logged_lines(as_tar(tmp_path / "c.tar", files))[1].startswith(GREY)
    assert len(logged_lines(as_tar(tmp_path / "d.tar", cifar10_files()))) == 1
