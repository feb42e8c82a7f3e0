"""What images are called: by their paths, by the published file and index, by the index."""

import json

import pytest
from made_sources import (
    as_folder,
    as_tar,
    as_zip,
    cifar10_files,
    cifar100_files,
    class_folders,
    png,
)

from cifarlab.data import paths
from cifarlab.data.config import Data, Fold
from cifarlab.data.opening import open_cached_data, open_dataset
from cifarlab.data.splits import test_subset, training_subsets

FILES = class_folders({"train": 4, "val": 2, "test": 2})


def names(dataset, split: str) -> list[str]:
    loaded = dataset.read(split)
    return [loaded.names[index] for index in range(len(loaded))]


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_paths_inside_a_folder_or_archive(tmp_path, kind):
    made = {"folder": (as_folder, "pets"), "tar": (as_tar, "pets.tar"), "zip": (as_zip, "pets.zip")}
    make, name = made[kind]
    dataset = open_dataset(str(make(tmp_path / name, dict(reversed(FILES.items())))))
    for split in ("train", "val", "test"):
        assert names(dataset, split) == sorted(f for f in FILES if f.startswith(split))
    train = dataset.read("train")
    for index, label in enumerate(train.labels):
        assert train.names[index].split("/")[1] == dataset.classes[label]


def test_cifar_images_are_called_by_file_and_index(tmp_path):
    small = open_dataset(str(as_tar(tmp_path / "10.tar", cifar10_files(n=10))))
    assert names(small, "train")[9:12] == ["data_batch_1[9]", "data_batch_2[0]", "data_batch_2[1]"]
    assert names(small, "test") == [f"test_batch[{k}]" for k in range(10)]
    large = open_dataset(str(as_tar(tmp_path / "100.tar", cifar100_files())))
    assert names(large, "train")[299] == "train[299]" and names(large, "test")[7] == "test[7]"


def test_without_names_the_index_is_the_name():
    assert names(open_dataset("digits"), "train")[333] == "index 333"


def test_parts_of_a_split_keep_its_names(tmp_path):
    dataset = open_dataset(str(as_tar(tmp_path / "pets.tar", FILES)))
    data = Data(fold=Fold(n_splits=2, index=0))
    training, validation = training_subsets(dataset, data)
    for split, part in {
        "train": training,
        "val": validation,
        "test": test_subset(dataset, data),
    }.items():
        assert [part.names[i] for i in part.indices] == [
            names(dataset, split)[i] for i in part.indices
        ]
        assert part.names[0] != "index 0"


def test_what_cannot_be_printed_is_escaped(tmp_path):
    odd = {
        "train/cat/a\x1b[2J.png": "train/cat/a\\x1b[2J.png",
        "train/cat/line\nbreak.png": "train/cat/line\\nbreak.png",
        "train/cat/turned\u202egnp.png": "train/cat/turned\\u202egnp.png",
        "train/cat/Käse 猫.png": "train/cat/Käse 猫.png",
    }
    files = {name: png(n) for n, name in enumerate(odd)} | {"train/dog/b.png": png(77)}
    dataset = open_dataset(str(as_folder(tmp_path / "odd", files)))
    assert sorted(names(dataset, "train")) == sorted([*odd.values(), "train/dog/b.png"])


@pytest.mark.parametrize("old", ["no file", "no size"])
def test_an_old_entry_without_names_is_built_again(tmp_path, monkeypatch, old):
    archive = as_tar(tmp_path / "pets.tar", FILES)
    before = open_dataset(str(archive))
    meta = before.folder / "meta.json"
    for split in before.split_names:
        (before.folder / f"{split}.names.json").unlink()
    if old == "no size":  # as it was written before there were names
        tree = json.loads(meta.read_text())
        tree["bytes"] = {name: n for name, n in tree["bytes"].items() if name.endswith(".npy")}
        meta.write_text(json.dumps(tree))
    assert open_cached_data(Data(source=str(archive))) is None
    decoded = []
    real = paths.decode_path
    monkeypatch.setattr(paths, "decode_path", lambda *a: decoded.append(a) or real(*a))
    after = open_dataset(str(archive))
    assert after == before and len(decoded) == 1
    assert names(after, "train")[0] == "train/cat/0.png"


def test_training_works_with_the_test_names_deleted(tmp_path):
    archive = as_tar(tmp_path / "pets.tar", FILES)
    folder = open_dataset(str(archive)).folder
    (folder / "test.names.json").unlink()
    stamp = (folder / "meta.json").stat().st_mtime_ns
    assert names(open_dataset(str(archive)), "train")[0] == "train/cat/0.png"
    assert (folder / "meta.json").stat().st_mtime_ns == stamp
