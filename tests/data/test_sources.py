"""Which source a name or path means."""

import subprocess
import sys

import numpy as np
import pytest
from made_sources import as_folder, as_tar, class_folders
from sklearn.datasets import load_digits

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.opening import open_dataset
from cifarlab.system.errors import DataError


def test_digits_are_exact():
    dataset = open_dataset("digits")
    train, reference = dataset.read("train"), load_digits()
    assert dataset.image_shape == (8, 8, 1) and dataset.split_names == ("train",)
    assert dataset.classes == tuple("0123456789") and dataset.name == "digits"
    assert (train.images.max(), train.images.min()) == (255, 0)
    np.testing.assert_array_equal(train.images[..., 0], np.rint(reference.images * 255 / 16))
    np.testing.assert_array_equal(train.labels, reference.target)


def test_digits_follow_the_policy():
    policy = ImagePolicy(size=32, resize_mode="stretch", channels="rgb")
    assert open_dataset("digits", images=policy).image_shape == (32, 32, 3)
    with pytest.raises(DataError, match="digits: each image is 8x8, not 32x32"):
        open_dataset("digits", images=ImagePolicy(size=32))


def test_relative_paths_are_looked_up_under_the_data_folder(tmp_path, monkeypatch):
    as_folder(tmp_path / "data/pets", class_folders({"train": 2}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="there is no data source 'pets'"):
        open_dataset("pets")
    monkeypatch.setenv("CIFARLAB_DATA", str(tmp_path / "data"))
    assert open_dataset("pets").name == "pets"
    as_folder(tmp_path / "pets", class_folders({"train": 2}, ("here", "there")))
    assert open_dataset("pets").classes == ("here", "there"), "the path as given comes first"


@pytest.mark.parametrize(
    ("source", "meant"),
    [("cifar-10", "cifar10"), ("Digits", "digits"), ("flower.tar.gz", "flowers.tar.gz")],
)
def test_an_unknown_source_names_the_nearest(tmp_path, monkeypatch, source, meant):
    as_tar(tmp_path / "flowers.tar.gz", class_folders({"train": 2}))
    monkeypatch.setenv("CIFARLAB_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        open_dataset(source)
    assert caught.value.hint.startswith(f"did you mean {meant}?")


def test_a_misspelt_path_names_its_neighbour(tmp_path):
    as_folder(tmp_path / "flowers", class_folders({"train": 2}))
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path / "flower"))
    assert f"did you mean {tmp_path / 'flowers'}?" in caught.value.hint


@pytest.mark.parametrize("unlike", ["zzz", "a" * 300])
def test_nothing_near_is_no_guess(unlike):
    with pytest.raises(DataError) as caught:
        open_dataset(unlike)
    assert "did you mean" not in caught.value.hint


def test_the_fingerprint_sees_training_and_validation_but_not_test(tmp_path):
    def fingerprint(name: str, **changed: bytes) -> str:
        files = class_folders({"train": 2, "val": 2, "test": 2})
        other = files["train/dog/1.png"]
        files |= {f"{split}/cat/0.png": other for split in changed}
        return open_dataset(str(as_folder(tmp_path / name, files))).fingerprint

    plain = fingerprint("a")
    assert fingerprint("b", test=b"") == plain
    assert fingerprint("c", train=b"") != plain
    assert fingerprint("d", val=b"") != plain


def test_the_fingerprint_sees_class_names(tmp_path):
    folder = as_folder(tmp_path / "a", class_folders({"train": 2}, ("a", "b")))
    other_folder = as_folder(tmp_path / "b", class_folders({"train": 2}, ("a", "c")))
    assert open_dataset(str(folder)).fingerprint != open_dataset(str(other_folder)).fingerprint


def test_importing_sources_imports_no_torch():
    code = "import sys, cifarlab.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
