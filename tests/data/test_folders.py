"""Class folders, as folders and as archives of every kind: layouts and policies."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from made_sources import Files, as_folder, as_tar, as_zip, bomb, class_folders, encoded, png
from PIL import Image

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.opening import open_dataset
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides
from cifarlab.system.errors import DataError

SOURCES = ["folder", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.tar.bz2", "a.zip"]


def make_source(path: Path, files: Files, kind: str = "folder") -> str:
    if kind == "folder":
        return str(as_folder(path / "pets", files))
    return str((as_zip if kind.endswith("zip") else as_tar)(path / kind, files))


def refusal(path: Path, files: Files, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(make_source(path, files), **options)
    return str(caught.value)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_container_gives_the_same(tmp_path, kind):
    files = class_folders({"train": 3, "val": 1, "test": 2})
    dataset = open_dataset(make_source(tmp_path, files, kind))
    assert dataset.name == ("pets" if kind == "folder" else "a")
    assert dataset.classes == ("cat", "dog")
    assert dataset.split_names == ("train", "val", "test")
    assert dataset.image_shape == (8, 8, 3)
    train, test = dataset.read("train"), dataset.read("test")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] and train.labels.dtype == np.int64
    assert train.images.dtype == np.uint8 and not train.images.flags.writeable
    assert train.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert test.images[:, 0, 0, 0].tolist() == [9, 10, 11, 12]
    reference = open_dataset(make_source(tmp_path / "again", files))
    assert dataset.fingerprint == reference.fingerprint


def test_the_order_in_an_archive_changes_nothing(tmp_path):
    files = class_folders({"train": 5, "test": 2})
    shuffled = list(files.items())
    random.Random(0).shuffle(shuffled)
    in_order = open_dataset(str(as_tar(tmp_path / "one.tar", files)))
    in_disorder = open_dataset(str(as_tar(tmp_path / "two.tar", dict(shuffled))))
    assert in_order.fingerprint == in_disorder.fingerprint
    for split in ("train", "test"):
        np.testing.assert_array_equal(in_order.read(split).images, in_disorder.read(split).images)
        np.testing.assert_array_equal(in_order.read(split).labels, in_disorder.read(split).labels)


def test_class_folders_alone_are_all_training(tmp_path):
    dataset = open_dataset(make_source(tmp_path, class_folders({"": 3})))
    assert dataset.split_names == ("train",)
    assert len(dataset.read("train")) == 6


@pytest.mark.parametrize("wrapper", ["a", "a/b/c", "./a"])
@pytest.mark.parametrize("splits", [{"": 2}, {"train": 2}, {"train": 2, "test": 1}])
def test_wrapping_folders_are_stripped(tmp_path, wrapper, splits):
    files = {f"{wrapper}/{name}": blob for name, blob in class_folders(splits).items()}
    dataset = open_dataset(str(as_tar(tmp_path / "a.tar", files)))
    assert dataset.classes == ("cat", "dog")
    assert dataset.split_names == (("train", "test") if "test" in splits else ("train",))


@pytest.mark.parametrize("alias", ["val", "valid", "validation", "Valid"])
def test_names_of_the_validation_folder(tmp_path, alias):
    dataset = open_dataset(make_source(tmp_path, class_folders({"train": 2, alias: 1})))
    assert dataset.split_names == ("train", "val")


@pytest.mark.parametrize(
    ("train", "others"),
    [
        ("Train_png", {"Test_png": "test"}),
        ("Training", {"Testing": "test"}),
        ("training", {"validation": "val", "evaluation": "test"}),
        ("seg_train", {"seg_test": "test"}),
        ("TrainImages", {"ValImages": "val", "TestImages": "test"}),
        ("train", {"test2017": "test", "dev": "val"}),
    ],
)
def test_other_spellings_of_the_splits(tmp_path, train, others):
    """Each level of which all folders speak of splits is one of splits, not of classes."""
    files = class_folders({train: 2, **dict.fromkeys(others, 1)})
    dataset = open_dataset(make_source(tmp_path, files))
    assert dataset.classes == ("cat", "dog")
    assert set(dataset.split_names) == {"train", *others.values()}


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("Train_a", "Train_b", "Test"), "both Train_a/ and Train_b/ hold a train split"),
        (("Testing", "Validation"), "there is Testing/ but no train/"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "splits test/, train/ lie within"),
        (("Train_png", "Test_png", "extra"), "Test_png, Train_png look like splits"),
        (("trainpng", "testpng"), "testpng, trainpng look like splits"),
    ],
)
def test_ambiguous_splits_are_refused(tmp_path, splits, expected):
    assert expected in refusal(tmp_path, class_folders(dict.fromkeys(splits, 1)))


@pytest.mark.parametrize("splits", [("Training", "Testing"), ("train", "test")])
def test_splits_without_class_folders_are_refused(tmp_path, splits):
    files = {f"{split}/{k}.png": png(k) for split in splits for k in range(2)}
    assert "lies in no class folder" in refusal(tmp_path, files)


@pytest.mark.parametrize("name", ["train", "test", "test_tube", "Training shoe"])
def test_a_class_among_others_may_be_called_like_a_split(tmp_path, name):
    dataset = open_dataset(make_source(tmp_path, class_folders({"": 2}, ("bus", "car", name))))
    assert set(dataset.classes) == {"bus", "car", name}
    assert dataset.split_names == ("train",)


def test_kinds_of_trains_are_classes(tmp_path):
    dataset = open_dataset(
        make_source(tmp_path, class_folders({"": 2}, ("train_fast", "train_slow")))
    )
    assert dataset.classes == ("train_fast", "train_slow")


def test_clutter_and_metadata_are_passed_over(tmp_path):
    files = class_folders({"train": 2})
    clutter = ["__MACOSX/x.png", ".DS_Store", "train/cat/Thumbs.db", "desktop.ini", ".git/x"]
    clutter += ["train/cat/._0.png", "labels.csv", "README", "train/about.html", "meta.yaml"]
    plain = open_dataset(make_source(tmp_path / "plain", files))
    cluttered = open_dataset(make_source(tmp_path / "full", files | dict.fromkeys(clutter, b"x")))
    assert cluttered.fingerprint == plain.fingerprint


def test_other_files_are_refused_by_name(tmp_path):
    message = refusal(tmp_path, class_folders({"train": 2}) | {"train/cat/run.exe": b""})
    assert "train/cat/run.exe is neither an image nor a text file" in message


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"test/bird/0.png": png()}, "class 'bird' is in test but not in train"),
        ({"train/0.png": png()}, "train/0.png lies in no class folder"),
        ({"other/cat/0.png": png()}, "other/cat/0.png lies beside the train folder"),
        ({"val/cat/0.png": png(), "valid/cat/0.png": png()}, "both val/ and valid/"),
    ],
)
def test_misplaced_images_are_refused(tmp_path, extra, expected):
    assert expected in refusal(tmp_path, class_folders({"train": 2}) | extra)


def test_no_training_folder_no_image_one_class(tmp_path):
    assert "no train/" in refusal(tmp_path / "a", class_folders({"test": 2}))
    assert "no image" in refusal(tmp_path / "b", {"train/cat/a.txt": b""})
    assert "just one class" in refusal(tmp_path / "c", class_folders({"": 2}, ("cat",)))


def test_an_empty_class_is_refused(tmp_path):
    (tmp_path / "pets/train/bird").mkdir(parents=True)
    assert "class folder 'bird' has no image" in refusal(tmp_path, class_folders({"train": 2}))


def test_an_empty_class_in_an_archive_is_refused(tmp_path):
    files = class_folders({"": 2}) | {"bird/broken.png": b""}
    with pytest.raises(DataError, match="'bird' has no image"):
        open_dataset(
            make_source(tmp_path, files, "a.zip"), images=ImagePolicy(on_bad_images="skip")
        )


def test_a_broken_file_is_named_or_skipped(tmp_path):
    files = class_folders({"train": 3}) | {"train/cat/1.png": png()[:40]}
    message = refusal(tmp_path, files)
    assert "train/cat/1.png can't be decoded" in message
    assert "data.images.on_bad_images=skip" in message
    dataset = open_dataset(str(tmp_path / "pets"), images=ImagePolicy(on_bad_images="skip"))
    assert dataset.skipped == ("train/cat/1.png",)
    assert dataset.read("train").labels.tolist() == [0, 0, 1, 1, 1]


def test_a_size_that_differs_is_refused_by_name(tmp_path):
    files = class_folders({"train": 2}) | {"train/dog/9.png": png(size=(9, 9))}
    assert "train/dog/9.png is 9x9" in refusal(tmp_path, files)
    message = refusal(tmp_path, files, images=ImagePolicy(size=8))
    assert "must have 8x8, but train/dog/9.png is 9x9" in message and "0.png" not in message
    dataset = open_dataset(
        str(tmp_path / "pets"), images=ImagePolicy(size=8, resize_mode="stretch")
    )
    assert dataset.image_shape == (8, 8, 3)


def parse_hint(message: str) -> ImagePolicy:
    """The policy that a message proposes, as if its settings were typed."""
    settings = re.findall(r"data\.images\.\S+", message.splitlines()[1])
    return apply_overrides(Recipe(), settings).data.images


BROKEN = {"train/dog/8.png": png()[:40]}


@pytest.mark.parametrize(
    ("extra", "policy"),
    [
        ({"train/dog/9.png": png(size=(9, 9))}, {"size": 8, "resize_mode": "crop"}),
        (
            {f"train/dog/{k}.png": png(k, (10, 12)) for k in range(9)},
            {"size": 10, "resize_mode": "crop"},
        ),
        (
            {f"train/dog/{k}.png": png(k, (99, 98)) for k in range(9)},
            {"size": 64, "resize_mode": "crop"},
        ),
        (
            {f"train/dog/{k}.png": png(k, (4, 4)) for k in range(9)},
            {"size": 8, "resize_mode": "crop"},
        ),
        (BROKEN, {"on_bad_images": "skip"}),
        (
            BROKEN | {f"train/dog/{k}.png": png(k, (9, 8)) for k in (5, 6)},
            {"size": 8, "resize_mode": "crop", "on_bad_images": "skip"},
        ),
    ],
)
def test_one_error_names_all_problems_and_the_settings(tmp_path, extra, policy):
    message = refusal(tmp_path, class_folders({"train": 2}) | extra)
    assert len(message.splitlines()) == 2
    assert next(iter(extra)) in message
    assert parse_hint(message) == ImagePolicy(**policy)
    open_dataset(str(tmp_path / "pets"), images=parse_hint(message))


def test_the_error_counts_similar_files(tmp_path):
    files = {f"{name}/{k}.png": png(k, (8, 8 + k % 5)) for name in "ab" for k in range(20)}
    broken = {f"a/x{k}.png": b"" for k in range(3)}
    message = refusal(tmp_path, files | broken)
    assert "a/0.png is 8x8 (and 7 like it), " in message and ", 2 more sizes; " in message
    assert "a/x0.png can't be decoded: it is no image" in message and "(and 2 like it)" in message


def test_a_large_source_is_refused_before_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("cifarlab.data.folders._MORE", 3)
    files = {f"a/{k}.png": png(k, (8, 8 if k < 4 else 9)) for k in range(9)}
    message = refusal(tmp_path, files | {f"b/{k}.png": b"" for k in range(9)})
    assert "a/4.png is 8x9 (and 3 like it)" in message and "decoded" not in message


def test_a_bomb_is_never_skipped(tmp_path):
    files = class_folders({"train": 2}) | {"train/cat/9.png": bomb(20_000)}
    assert "train/cat/9.png" in refusal(tmp_path, files, images=ImagePolicy(on_bad_images="skip"))


def test_grey_only_if_all_are_grey(tmp_path):
    grey = {f"{name}/{i}.png": png(i, mode="L") for name in "ab" for i in range(3)}
    dataset = open_dataset(make_source(tmp_path / "grey", grey))
    assert dataset.image_shape == (8, 8, 1)
    mixed = {"a/1.png": png(5), "z/0.png": png(6), **grey, "b/1.png": png(7)}
    images = open_dataset(make_source(tmp_path / "mixed", mixed)).read("train").images
    assert images.shape == (7, 8, 8, 3)
    expected = [
        np.array(Image.open(tmp_path / "mixed/pets" / n).convert("RGB")) for n in sorted(mixed)
    ]
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("name", ["CIFAR-10", "cifar10-small", "CIFAR-100 (fine)", "Digits"])
@pytest.mark.parametrize("how", [as_folder, as_tar])
def test_no_folder_or_archive_passes_for_a_known_data_set(tmp_path, name, how):
    path = how(tmp_path / (name + (".tar" if how is as_tar else "")), class_folders({"": 2}))
    assert open_dataset(str(path)).name == str(path)


def test_progress_is_reported(tmp_path):
    calls = []
    open_dataset(
        make_source(tmp_path, class_folders({"train": 2})),
        progress=lambda *call: calls.append(call),
    )
    assert calls[-1] == ("decoding images", 4, 4)


def test_an_archive_of_jpegs_by_class_and_split(tmp_path):
    names = ("airplane", "automobile", "bird", "cat", "deer")
    names += ("dog", "frog", "horse", "ship", "truck")
    files = {
        f"{split}/{name}/{i:04}.jpg": encoded(Image.new("RGB", (32, 32), (i, k, 0)), "JPEG")
        for split in ("train", "test")
        for k, name in enumerate(names)
        for i in range(5)
    }
    dataset = open_dataset(str(as_tar(tmp_path / "made.tar.xz", files)))
    assert dataset.classes[0] == "airplane" and dataset.classes[9] == "truck"
    assert dataset.image_shape == (32, 32, 3)
    assert np.bincount(dataset.read("train").labels).tolist() == [5] * 10
