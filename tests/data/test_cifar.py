"""The official archives, made small: the same structure, written as Python 2 wrote it."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_sources import (
    as_folder,
    as_tar,
    batch,
    cifar10_files,
    cifar100_files,
    python2_pickle,
)

from cifarlab.data.cifar import DATASETS, content_hash
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.opening import open_dataset
from cifarlab.system.errors import DataError

# read before a fixture hides it: one test uses the official images where they are
REAL_DATA = os.environ.get("CIFARLAB_DATA", "")
TRAIN_1 = "cifar-10-batches-py/data_batch_1"
TEST = "cifar-10-batches-py/test_batch"
META = "cifar-10-batches-py/batches.meta"


def python3_pickle(content):
    return pickle.dumps(content, protocol=2)


def refusal(tmp_path, files, **options) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(str(as_tar(tmp_path / "cifar.tar.gz", files)), **options)
    return str(caught.value)


@pytest.mark.parametrize("dump", [python2_pickle, python3_pickle, pickle.dumps])
def test_cifar10_images_labels_and_classes(tmp_path, dump):
    dataset = open_dataset(str(as_tar(tmp_path / "any-name.tar.gz", cifar10_files(dump))))
    assert dataset.name == str(tmp_path / "any-name.tar.gz")
    assert dataset.classes == tuple(f"class{i}" for i in range(10))
    assert dataset.split_names == ("train", "test") and dataset.image_shape == (32, 32, 3)
    batches = [batch(20, i, labels=10) for i in range(5)]
    vectors = np.concatenate([b["data"] for b in batches])
    train = dataset.read("train")
    np.testing.assert_array_equal(
        train.images, vectors.reshape(100, 3, 32, 32).transpose(0, 2, 3, 1)
    )
    assert train.images[7, 2, 5, 1] == vectors[7, 1 * 1024 + 2 * 32 + 5]
    assert train.labels.tolist() == [i % 10 for i in range(20)] * 5
    assert len(dataset.read("test")) == 20


def test_the_order_of_members_changes_nothing(tmp_path):
    files = cifar10_files()
    in_order = open_dataset(str(as_tar(tmp_path / "one.tar.gz", files)))
    in_disorder = open_dataset(str(as_tar(tmp_path / "two.tar", dict(reversed(files.items())))))
    assert in_order.fingerprint == in_disorder.fingerprint


@pytest.mark.parametrize(("labels", "count"), [("fine", 100), ("coarse", 20)])
def test_cifar100_has_two_kinds_of_labels(tmp_path, labels, count):
    path = as_tar(tmp_path / "c.tar.gz", cifar100_files())
    dataset = open_dataset(str(path), label_mode=labels)
    assert dataset.name == f"{path} ({labels})"
    assert dataset.classes == tuple(f"{labels}{i}" for i in range(count))
    assert dataset.read("train").labels.tolist() == [i % count for i in range(300)]


@pytest.fixture
def published(tmp_path, monkeypatch) -> None:
    """Takes the made images, labels and class names for those that were published."""
    dataset = open_dataset(str(as_tar(tmp_path / "published.tar", cifar10_files())))
    hashes = {
        name: content_hash(split.images, split.labels, dataset.classes)
        for name, split in ((name, dataset.read(name)) for name in dataset.split_names)
    }
    kind = DATASETS["cifar10"]
    labels = {"fine": replace(kind.labels["fine"], published=hashes)}
    monkeypatch.setitem(DATASETS, "cifar10", replace(kind, labels=labels))


def swap_images(content: dict) -> dict:
    """Two images with their labels in each other's place."""
    data, labels = content["data"].copy(), list(content["labels"])
    data[[0, 1]], labels[:2] = data[[1, 0]], labels[1::-1]
    return content | {"data": data, "labels": labels}


def name_of(tmp_path, **changed) -> str:
    """What the made files are called with some of them changed; None: left out."""
    files = {"first": TRAIN_1, "test": TEST, "meta": META}
    new = {files[name]: content for name, content in changed.items()}
    kept = {name: c for name, c in (cifar10_files() | new).items() if c is not None}
    return open_dataset(str(as_tar(tmp_path / "mine.tar", kept))).name


def test_what_was_published_carries_its_name_in_any_order(tmp_path, published):
    assert name_of(tmp_path) == "CIFAR-10"
    swapped_batch = python2_pickle(swap_images(batch(20, 0, labels=10)))
    assert name_of(tmp_path, first=swapped_batch) == "CIFAR-10"
    assert name_of(tmp_path, test=None) == "CIFAR-10"


def other_labels(seed: int) -> bytes:
    content = batch(20, seed, labels=10)
    content["labels"][3] = 4
    return python2_pickle(content)


@pytest.mark.parametrize(
    "changed",
    [
        {"first": other_labels(0)},
        {"test": other_labels(5)},
        {"first": python2_pickle(batch(20, 77, labels=10))},
        {"first": python2_pickle(batch(21, 0, labels=10))},
        {"meta": python2_pickle({"label_names": [f"other{i}" for i in range(10)]})},
    ],
)
def test_anything_else_in_that_layout_is_called_by_its_path(tmp_path, published, changed):
    assert name_of(tmp_path, **changed) == str(tmp_path / "mine.tar")


def test_the_real_ones_are_known(monkeypatch):
    """Where CIFARLAB_DATA has them; the hashes are of the data, so no made ones can show it."""
    monkeypatch.setenv("CIFARLAB_DATA", REAL_DATA)
    for source, labels, name in (
        ("cifar10", "fine", "CIFAR-10"),
        ("cifar100", "fine", "CIFAR-100 (fine)"),
        ("cifar100", "coarse", "CIFAR-100 (coarse)"),
    ):
        if REAL_DATA and (Path(REAL_DATA) / DATASETS[source].folder).is_dir():
            assert open_dataset(source, label_mode=labels).name == name
    assert all(
        len(hashed) == 64
        for kind in DATASETS.values()
        for labels in kind.labels.values()
        for hashed in (labels.published["train"], labels.published["test"])
    )


@pytest.mark.parametrize("files", [cifar10_files(), cifar100_files()])
@pytest.mark.parametrize("below", [True, False])
def test_extracted_folders_whatever_their_name(tmp_path, files, below):
    official = next(iter(files)).split("/")[0]
    as_folder(tmp_path, files)
    folder = (tmp_path / official).rename(tmp_path / ("mine" if not below else official))
    archive = open_dataset(str(as_tar(tmp_path / "c.tar.gz", files)))
    if below:
        (tmp_path / "c.tar.gz").unlink()
    dataset = open_dataset(str(tmp_path if below else folder))
    assert dataset.fingerprint == archive.fingerprint
    assert dataset.name.startswith(str(tmp_path if below else folder))


@pytest.mark.parametrize(
    ("source", "files"), [("cifar10", cifar10_files()), ("cifar100", cifar100_files())]
)
@pytest.mark.parametrize("extracted", [True, False])
def test_named_sources_use_the_users_own_file(tmp_path, monkeypatch, source, files, extracted):
    monkeypatch.setenv("CIFARLAB_DATA", str(tmp_path))
    if extracted:
        as_folder(tmp_path, files)
    else:
        as_tar(tmp_path / f"cifar-{source[5:]}-python.tar.gz", files)
    assert open_dataset(source).split_names == ("train", "test")


def test_a_missing_test_batch_is_no_fault(tmp_path):
    files = cifar10_files()
    complete = open_dataset(str(as_tar(tmp_path / "whole.tar.gz", files)))
    del files["cifar-10-batches-py/test_batch"]
    dataset = open_dataset(str(as_tar(tmp_path / "part.tar.gz", files)))
    assert dataset.split_names == ("train",)
    assert dataset.fingerprint == complete.fingerprint
    with pytest.raises(DataError, match="has no test split"):
        dataset.read("test")


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_any_other_missing_file_is_named(tmp_path, name):
    files = cifar10_files()
    del files[f"cifar-10-batches-py/{name}"]
    assert f"lacks {name}" in refusal(tmp_path, files)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"labels": [0]}, "no uint8 matrix"),
        ({"data": np.zeros((1, 3072)), "labels": [0]}, "no uint8 matrix"),
        ({"data": np.zeros((1, 100), np.uint8), "labels": [0]}, "shape (1, 100)"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, "shape (0, 3072)"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, "labels from 0 to 9"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}, "labels from 0 to 9"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "no list of 2 labels"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": ["1"]}, "no list of 1 labels"),
        ([1, 2], "is not what the official archive has"),
    ],
)
def test_content_that_is_not_as_published_is_refused(tmp_path, content, expected):
    message = refusal(tmp_path, cifar10_files() | {TRAIN_1: pickle.dumps(content, 4)})
    assert TRAIN_1 in message and expected in message


def test_class_names_are_checked(tmp_path):
    meta = {"cifar-10-batches-py/batches.meta": pickle.dumps({"label_names": ["a", "a"]})}
    assert "no list of 10 class names" in refusal(tmp_path, cifar10_files() | meta)


@pytest.mark.parametrize(
    "pickled",
    [
        b"cos\nsystem\n(S'touch {}'\ntR.",
        b'cbuiltins\neval\n(S\'open("{}", "w")\'\ntR.',
        b"cnumpy\nload\n(S'{}'\ntR.",
        b"cnumpy\nndarray.tofile\n(S'{}'\ntR.",
    ],
)
def test_a_pickle_that_would_run_something_is_refused_and_not_run(tmp_path, pickled):
    proof = tmp_path / "proof"
    forged = pickled.replace(b"{}", str(proof).encode())
    message = refusal(tmp_path, cifar10_files() | {TRAIN_1: forged})
    assert "it asks for" in message and TRAIN_1 in message
    assert not proof.exists()


def test_a_pickle_cut_short_is_refused(tmp_path):
    files = cifar10_files()
    assert TRAIN_1 in refusal(tmp_path, files | {TRAIN_1: files[TRAIN_1][:-100]})


def test_coarse_labels_are_refused_where_there_are_none(tmp_path):
    for source in ("digits", str(as_tar(tmp_path / "c.tar", cifar10_files()))):
        with pytest.raises(DataError, match=r"data\.label_mode=coarse"):
            open_dataset(source, label_mode="coarse")


def test_the_policy_applies_to_arrays_too(tmp_path):
    path = str(as_tar(tmp_path / "c.tar", cifar10_files()))
    policy = ImagePolicy(size=16, resize_mode="stretch", channels="grey")
    assert open_dataset(path, images=policy).image_shape == (16, 16, 1)
    with pytest.raises(DataError, match="each image is 32x32, not 16x16"):
        open_dataset(path, images=ImagePolicy(size=16))
