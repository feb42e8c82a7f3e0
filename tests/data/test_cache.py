"""The cache: decoded once, never half, never shared wrongly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_sources import as_folder, as_tar, class_folders, png

from cifarlab.data import cache as cache_module
from cifarlab.data import paths
from cifarlab.data.cache import cache_root
from cifarlab.data.config import Data, ImagePolicy
from cifarlab.data.opening import open_cached_data, open_dataset
from cifarlab.data.splits import training_subsets
from cifarlab.system.errors import DataError, StorageError

FILES = class_folders({"train": 4, "val": 2, "test": 2})


@pytest.fixture
def archive(tmp_path) -> Path:
    return as_tar(tmp_path / "pets.tar.gz", FILES)


@pytest.fixture
def decodings(monkeypatch) -> list[Path]:
    """Each decoding of a source adds its path."""
    calls, real = [], paths.decode_path
    monkeypatch.setattr(paths, "decode_path", lambda path, *a: calls.append(path) or real(path, *a))
    return calls


def test_the_second_opening_decodes_nothing(archive, decodings):
    first = open_dataset(str(archive))
    second = open_dataset(str(archive))
    assert first == second and len(decodings) == 1
    assert isinstance(second.read("train").images, np.memmap)


def test_the_entry_holds_what_is_promised(archive, cache):
    folder = open_dataset(str(archive)).folder
    assert folder.parent == cache and folder.name.startswith("pets.tar.gz-")
    assert {f.name for f in folder.iterdir()} == {"meta.json"} | {
        f"{split}.{part}"
        for split in ("train", "val", "test")
        for part in ("images.npy", "labels.npy", "names.json")
    }
    assert [f for f in cache.iterdir() if not f.name.endswith(".lock")] == [folder]


def test_labels_policy_and_changed_sources_have_entries_of_their_own(archive, decodings):
    open_dataset(str(archive))
    open_dataset(str(archive), images=ImagePolicy(channels="grey"))
    os.utime(archive, ns=(1, 1))
    open_dataset(str(archive))
    assert len(decodings) == 3


def test_a_changed_file_in_a_folder_is_noticed(tmp_path, decodings):
    folder = as_folder(tmp_path / "pets", FILES)
    before = open_dataset(str(folder))
    (folder / "train/cat/0.png").write_bytes(png(99))
    assert open_dataset(str(folder)).fingerprint != before.fingerprint
    assert len(decodings) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "meta.json").unlink(),
        lambda entry: (entry / "meta.json").write_text("{"),
        lambda entry: (entry / "meta.json").write_text("[]"),
        lambda entry: (entry / "meta.json").write_text(json.dumps({"name": "x"})),
        lambda entry: os.truncate(entry / "train.images.npy", 500),
        lambda entry: os.truncate(entry / "test.images.npy", 500),
        lambda entry: (entry / "train.labels.npy").unlink(),
        lambda entry: (entry / "val.images.npy").unlink(),
    ],
)
def test_a_damaged_entry_is_built_again(archive, decodings, damage):
    before = open_dataset(str(archive))
    damage(before.folder)
    after = open_dataset(str(archive))
    assert len(decodings) == 2 and after == before
    assert len(after.read("train")) == 8 and len(after.read("test")) == 4


def test_training_works_with_the_test_files_deleted(archive, decodings):
    before = open_dataset(str(archive))
    expected = training_subsets(before, Data())
    for file in before.folder.glob("test.*"):
        file.unlink()
    after = open_dataset(str(archive))
    assert len(decodings) == 1 and after == before
    for subset, expected_subset in zip(training_subsets(after, Data()), expected, strict=True):
        np.testing.assert_array_equal(subset.indices, expected_subset.indices)
    with pytest.raises(DataError, match="decoded test split of pets is missing") as caught:
        after.read("test")
    assert str(after.folder) in caught.value.hint


def test_a_failed_decoding_leaves_nothing(tmp_path, cache):
    bad = as_tar(tmp_path / "bad.tar", FILES | {"train/cat/1.png": b"broken"})
    with pytest.raises(DataError):
        open_dataset(str(bad))
    assert all(file.name.endswith(".lock") for file in cache.iterdir())


def test_what_a_killed_process_left_is_cleared(archive, decodings):
    entry = open_dataset(str(archive)).folder
    entry.rename(entry.with_name(f".{entry.name}.building"))
    assert open_dataset(str(archive)).folder == entry
    assert not entry.with_name(f".{entry.name}.building").exists()


def test_an_unwritable_cache_says_what_to_set(archive, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CIFARLAB_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(StorageError, match="can't write") as caught:
        open_dataset(str(archive))
    assert "CIFARLAB_CACHE" in caught.value.hint


def test_a_full_disk_says_so_and_leaves_nothing(archive, cache, monkeypatch):
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "write_text", full)
    with pytest.raises(StorageError, match="No space left"):
        open_dataset(str(archive))
    assert all(file.name.endswith(".lock") for file in cache.iterdir())


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("CIFARLAB_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("CIFARLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg/cifarlab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache/cifarlab"


def test_two_processes_opening_at_once_get_the_same(tmp_path):
    """Both decode or one waits; either way both read the whole and one entry is left."""
    archive = as_tar(tmp_path / "pets.tar.gz", class_folders({"train": 400}))
    code = """
import sys
from cifarlab.data.opening import open_dataset
print("ready", flush=True); sys.stdin.readline()
dataset = open_dataset(sys.argv[1])
print(dataset.fingerprint, len(dataset.read("train")), dataset.folder)
"""
    command = [sys.executable, "-c", code, str(archive)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    outputs = {run.communicate(timeout=60)[0] for run in runs}
    assert len(outputs) == 1 and " 800 " in outputs.pop()


def all_splits(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("source", ["archive", "digits"])
def test_what_is_cached_is_given_without_opening_it(archive, cache, decodings, source):
    name = str(archive) if source == "archive" else source
    assert open_cached_data(Data(source=name)) is None and not all_splits(cache)
    opened = open_dataset(name)
    before, counted = all_splits(cache), len(decodings)
    crop = ImagePolicy(size=16, resize_mode="crop")
    assert open_cached_data(Data(source=name)).dataset == opened
    assert open_cached_data(Data(source=name, images=crop)) is None
    assert all_splits(cache) == before and len(decodings) == counted


def test_an_archive_that_changed_is_not_cached(archive):
    open_dataset(str(archive))
    os.utime(archive, (1, 1))
    assert open_cached_data(Data(source=str(archive))) is None


@pytest.mark.parametrize("source", ["cifar10", "cifar100"])
def test_nothing_is_downloaded_to_look_into_the_cache(cache, monkeypatch, source):
    monkeypatch.setattr(paths, "download_archive", lambda *_: pytest.fail("it was downloaded"))
    assert open_cached_data(Data(source=source)) is None and not all_splits(cache)


def test_an_unknown_source_is_in_no_cache():
    with pytest.raises(DataError, match="there is no data source"):
        open_cached_data(Data(source="cifra10"))
