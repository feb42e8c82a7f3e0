"""Class folders, as folders and as archives of every kind: layouts and policies."""

import random
from pathlib import Path

import numpy as np
import pytest
from made_sources import Files, as_folder, as_tar, as_zip, bomb, class_folders, encoded, png
from PIL import Image

from cifarlab.data import open_dataset
from cifarlab.errors import DataError
from cifarlab.recipe.images import ImagePolicy

SOURCES = ["folder", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.tar.bz2", "a.zip"]


def made(path: Path, files: Files, kind: str = "folder") -> str:
    if kind == "folder":
        return str(as_folder(path / "pets", files))
    return str((as_zip if kind.endswith("zip") else as_tar)(path / kind, files))


def refusal(path: Path, files: Files, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(made(path, files), **options)
    return str(caught.value)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_container_gives_the_same(tmp_path, kind):
    files = class_folders({"train": 3, "val": 1, "test": 2})
    dataset = open_dataset(made(tmp_path, files, kind))
    assert dataset.name == ("pets" if kind == "folder" else "a")
    assert dataset.classes == ("cat", "dog")
    assert dataset.split_names == ("train", "val", "test")
    assert dataset.image_shape == (8, 8, 3)
    train, test = dataset.read("train"), dataset.read("test")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] and train.labels.dtype == np.int64
    assert train.images.dtype == np.uint8 and not train.images.flags.writeable
    assert train.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert test.images[:, 0, 0, 0].tolist() == [9, 10, 11, 12]
    reference = open_dataset(made(tmp_path / "again", files))
    assert dataset.fingerprint == reference.fingerprint


def test_the_order_in_an_archive_changes_nothing(tmp_path):
    files = class_folders({"train": 5, "test": 2})
    shuffled = list(files.items())
    random.Random(0).shuffle(shuffled)
    one = open_dataset(str(as_tar(tmp_path / "one.tar", files)))
    two = open_dataset(str(as_tar(tmp_path / "two.tar", dict(shuffled))))
    assert one.fingerprint == two.fingerprint
    for split in ("train", "test"):
        np.testing.assert_array_equal(one.read(split).images, two.read(split).images)
        np.testing.assert_array_equal(one.read(split).labels, two.read(split).labels)


def test_class_folders_alone_are_all_training(tmp_path):
    dataset = open_dataset(made(tmp_path, class_folders({"": 3})))
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
    dataset = open_dataset(made(tmp_path, class_folders({"train": 2, alias: 1})))
    assert dataset.split_names == ("train", "val")


def test_clutter_and_metadata_are_passed_over(tmp_path):
    files = class_folders({"train": 2})
    clutter = ["__MACOSX/x.png", ".DS_Store", "train/cat/Thumbs.db", "desktop.ini", ".git/x"]
    clutter += ["train/cat/._0.png", "labels.csv", "README", "train/about.html", "meta.yaml"]
    plain = open_dataset(made(tmp_path / "plain", files))
    cluttered = open_dataset(made(tmp_path / "full", files | dict.fromkeys(clutter, b"x")))
    assert cluttered.fingerprint == plain.fingerprint


def test_other_files_are_refused_by_name(tmp_path):
    message = refusal(tmp_path, class_folders({"train": 2}) | {"train/cat/run.exe": b""})
    assert "train/cat/run.exe is neither an image nor a text file" in message


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"test/bird/0.png": png()}, "class 'bird' is in test but not in train"),
        ({"train/0.png": png()}, "train/0.png lies in no class folder"),
        ({"other/cat/0.png": png()}, "other/cat/0.png lies beside the train folder"),
        ({"val/cat/0.png": png(), "valid/cat/0.png": png()}, "both val/ and valid/"),
    ],
)
def test_misplaced_images_are_refused(tmp_path, extra, said):
    assert said in refusal(tmp_path, class_folders({"train": 2}) | extra)


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
        open_dataset(made(tmp_path, files, "a.zip"), images=ImagePolicy(broken="skip"))


def test_a_broken_file_is_named_or_skipped(tmp_path):
    files = class_folders({"train": 3}) | {"train/cat/1.png": png()[:40]}
    message = refusal(tmp_path, files)
    assert "train/cat/1.png can't be decoded" in message
    assert "data.images.broken=skip" in message
    dataset = open_dataset(str(tmp_path / "pets"), images=ImagePolicy(broken="skip"))
    assert dataset.skipped == ("train/cat/1.png",)
    assert dataset.read("train").labels.tolist() == [0, 0, 1, 1, 1]


def test_a_size_that_differs_is_refused_by_name(tmp_path):
    files = class_folders({"train": 2}) | {"train/dog/9.png": png(size=(9, 9))}
    message = refusal(tmp_path, files)
    assert "train/dog/9.png is 9x9" in message and "data.images.size" in message
    assert "train/dog/9.png is 9x9, not 8x8" in refusal(tmp_path, files, images=ImagePolicy(size=8))
    dataset = open_dataset(str(tmp_path / "pets"), images=ImagePolicy(size=8, fit="stretch"))
    assert dataset.image_shape == (8, 8, 3)


def test_a_bomb_is_never_skipped(tmp_path):
    files = class_folders({"train": 2}) | {"train/cat/9.png": bomb(20_000)}
    assert "train/cat/9.png" in refusal(tmp_path, files, images=ImagePolicy(broken="skip"))


def test_grey_only_if_all_are_grey(tmp_path):
    grey = {f"{name}/{i}.png": png(i, mode="L") for name in "ab" for i in range(3)}
    dataset = open_dataset(made(tmp_path / "grey", grey))
    assert dataset.image_shape == (8, 8, 1)
    mixed = {"a/1.png": png(5), "z/0.png": png(6), **grey, "b/1.png": png(7)}
    images = open_dataset(made(tmp_path / "mixed", mixed)).read("train").images
    assert images.shape == (7, 8, 8, 3)
    wanted = [
        np.array(Image.open(tmp_path / "mixed/pets" / n).convert("RGB")) for n in sorted(mixed)
    ]
    np.testing.assert_array_equal(images, wanted)


@pytest.mark.parametrize("name", ["CIFAR-10", "cifar10-small", "CIFAR-100 (fine)", "Digits"])
@pytest.mark.parametrize("how", [as_folder, as_tar])
def test_no_folder_or_archive_passes_for_a_known_data_set(tmp_path, name, how):
    path = how(tmp_path / (name + (".tar" if how is as_tar else "")), class_folders({"": 2}))
    assert open_dataset(str(path)).name == str(path)


def test_progress_is_told(tmp_path):
    calls = []
    open_dataset(
        made(tmp_path, class_folders({"train": 2})), progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == ("decoding images", 4, 4)


def test_the_real_archive_or_one_like_it(tmp_path, real_archive):
    """60,000 JPEGs where CIFARLAB_DATA has them, else a made archive of the same layout."""
    if real_archive:
        dataset, per_class = open_dataset(str(real_archive)), 5000
        assert dataset.name == "CIFAR-10 (JPEG)"
    else:
        names = ("airplane", "automobile", "bird", "cat", "deer")
        names += ("dog", "frog", "horse", "ship", "truck")
        files = {
            f"{split}/{name}/{i:04}.jpg": encoded(Image.new("RGB", (32, 32), (i, k, 0)), "JPEG")
            for split in ("train", "test")
            for k, name in enumerate(names)
            for i in range(5)
        }
        dataset, per_class = open_dataset(str(as_tar(tmp_path / "made.tar.xz", files))), 5
    assert dataset.classes[0] == "airplane" and dataset.classes[9] == "truck"
    assert dataset.image_shape == (32, 32, 3)
    assert np.bincount(dataset.read("train").labels).tolist() == [per_class] * 10
