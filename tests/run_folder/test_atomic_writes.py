"""A file appears whole or not at all, and a disk that refuses becomes an error in words."""

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cifarlab.run_folder.predictions import Predictions
from cifarlab.system import files
from cifarlab.system.errors import StorageError
from cifarlab.system.files import disk_errors, remove_leftovers, write_text

HINTS = {
    "ENOSPC": "free some space",
    "EDQUOT": "free some of your quota",
    "EROFS": "the disk is read-only",
    "EACCES": "you may not write there",
    "EPERM": "you may not write there",
    "ENOTDIR": "a part of the path is a file",
    "EIO": "check the disk",
}


def make_failure(name):
    number = getattr(errno, name)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@contextmanager
def raises_storage_error(path, hint):
    """As pytest.raises: a StorageError that names ``path``, with nothing left beside it."""
    before = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    with pytest.raises(StorageError) as caught:
        yield
    what, second = str(caught.value).split("\n")
    assert what.startswith(f"can't write {path}: ")
    assert hint in second
    assert caught.value.exit_code == 1
    assert before == (sorted(path.parent.iterdir()) if path.parent.is_dir() else [])


@contextmanager
def file_size_limit(size):
    """The kernel itself refuses to write files longer than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_in_a_folder_that_is_made_on_the_way(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_until_it_is_on_the_disk_a_reader_sees_the_old_file(tmp_path, monkeypatch):
    path, reads = tmp_path / "file.txt", []
    write_text(path, "old")

    def look(_):
        reads.append((path.read_text(), len(list(tmp_path.iterdir()))))

    monkeypatch.setattr(os, "fsync", look)
    write_text(path, "new")
    # then the folder's own: a rename across disks would not be one step
    assert reads == [("old", 2), ("new", 1)]


def test_what_another_machine_s_process_writes_is_no_leftover(tmp_path):
    names = [f".file.txt.{machine}-{2**22 + 1}.part" for machine in ("elsewhere", files._MACHINE)]
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == names[:1]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_a_write_that_is_ended_keeps_the_old_file_and_its_own_error(tmp_path, monkeypatch, error):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    events = []
    rename = Path.replace
    monkeypatch.setattr("os.fsync", lambda _: events.append("fsync"))
    monkeypatch.setattr(Path, "replace", lambda *a: (events.append("rename"), rename(*a)))
    write_text(tmp_path / "file.txt", "new")
    assert events[:2] == ["fsync", "rename"]


@pytest.mark.parametrize(("name", "hint"), HINTS.items())
@pytest.mark.parametrize("where", ["pathlib.Path.open", "os.fsync", "pathlib.Path.replace"])
def test_a_disk_that_refuses_keeps_the_old_file(tmp_path, monkeypatch, where, name, hint):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with raises_storage_error(path, hint), monkeypatch.context() as patch:
        patch.setattr(where, make_failure(name))
        write_text(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize(("name", "hint"), HINTS.items())
def test_the_words_for_each_refusal(tmp_path, name, hint):
    with raises_storage_error(tmp_path / "file", hint), disk_errors(tmp_path / "file"):
        make_failure(name)()


def test_a_read_only_disk_refuses_to_remove_what_is_not_there_too(tmp_path, monkeypatch):
    # Linux answers unlink with EROFS before it looks whether the file exists
    monkeypatch.setattr(Path, "open", make_failure("EROFS"))
    monkeypatch.setattr(Path, "unlink", make_failure("EROFS"))
    with raises_storage_error(tmp_path / "file.txt", "the disk is read-only"):
        write_text(tmp_path / "file.txt", "new")


@pytest.mark.parametrize("rest", ["x", "folder/x"])
def test_a_part_of_the_path_is_a_file(tmp_path, rest):
    (tmp_path / "file").touch()
    with raises_storage_error(tmp_path / "file" / rest, "a part of the path is a file"):
        write_text(tmp_path / "file" / rest, "new")


def test_the_target_is_a_folder(tmp_path):
    (tmp_path / "file").mkdir()
    with raises_storage_error(tmp_path / "file", ""):
        write_text(tmp_path / "file", "new")


def test_a_text_that_the_kernel_refuses_half_way(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with file_size_limit(4096), raises_storage_error(path, ""):
        write_text(path, "x" * 9999)
    assert path.read_text() == "old"


def test_arrays_that_the_kernel_refuses_half_way(tmp_path):
    # safetensors raises an error of its own for what the disk refused
    path = tmp_path / "test.safetensors"
    path.write_text("old")
    none = np.zeros(0, dtype=np.int64)
    logits = np.zeros((5000, 2), dtype=np.float32)
    with file_size_limit(4096), raises_storage_error(path, ""):
        Predictions(("a", "b"), logits, none, none, none, none).write(path)
    assert path.read_text() == "old"
