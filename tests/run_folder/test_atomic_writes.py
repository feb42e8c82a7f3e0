"""Writes are atomic: the new file or the old one; a refusal of the disk names its cause."""

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
from cifarlab.system.files import disk_errors, link, remove_leftovers, write_text

HINTS = {
    "ENOSPC": "free some space",
    "EDQUOT": "free some of your quota",
    "EROFS": "the disk is read-only",
    "EACCES": "you may not write there",
    "EPERM": "you may not write there",
    "ENOTDIR": "a part of the path is a file",
    "EIO": "check the disk",
}


def failing(name):
    number = getattr(errno, name)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def refusal(path, text="new"):
    """Return the error of a write that is refused."""
    with pytest.raises(StorageError) as caught:
        write_text(path, text)
    return caught.value


def lines(error):
    return str(error).split("\n")


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
    path, seen = tmp_path / "file.txt", []
    write_text(path, "old")

    def look(_):
        seen.append((path.read_text(), len(list(tmp_path.iterdir()))))

    monkeypatch.setattr(os, "fsync", look)
    write_text(path, "new")
    # then the folder's own: a rename across disks would not be one step
    assert seen == [("old", 2), ("new", 1)]


def test_what_another_machine_s_process_writes_is_no_leftover(tmp_path):
    names = [f".file.txt.{machine}-{2**22 + 1}.part" for machine in ("elsewhere", files._MACHINE)]
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == names[:1]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_linked_file_keeps_its_content_when_the_other_is_replaced(
    tmp_path, monkeypatch, has_links
):
    last, best = tmp_path / "last", tmp_path / "best"
    write_text(last, "one")
    if not has_links:
        monkeypatch.setattr(os, "link", failing("EPERM"))
    for _ in range(2):  # the second time both are one file already
        link(last, best)
    assert last.samefile(best) == has_links
    write_text(last, "two")
    assert best.read_text() == "one"
    assert sorted(tmp_path.iterdir()) == [best, last]


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
@pytest.mark.parametrize("function", ["pathlib.Path.open", "os.fsync", "pathlib.Path.replace"])
def test_a_disk_that_refuses_keeps_the_old_file(tmp_path, monkeypatch, function, name, hint):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(function, failing(name))
        what, second = lines(refusal(path))
    assert what.startswith(f"can't write {path}: ")
    assert hint in second
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "hint"), HINTS.items())
def test_each_refusal_has_its_hint(tmp_path, name, hint):
    with pytest.raises(StorageError) as caught, disk_errors(tmp_path / "file"):
        failing(name)()
    what, second = lines(caught.value)
    assert what.startswith(f"can't write {tmp_path / 'file'}: ")
    assert hint in second
    assert caught.value.exit_code == 1


def test_a_read_only_disk_that_refuses_to_remove_the_part_too(tmp_path, monkeypatch):
    # Linux answers unlink with EROFS before it looks whether the file exists
    monkeypatch.setattr(Path, "open", failing("EROFS"))
    monkeypatch.setattr(Path, "unlink", failing("EROFS"))
    assert "the disk is read-only" in lines(refusal(tmp_path / "file.txt"))[1]


@pytest.mark.parametrize("below", ["x", "folder/x"])
def test_a_part_of_the_path_is_a_file(tmp_path, below):
    (tmp_path / "file").touch()
    what, hint = lines(refusal(tmp_path / "file" / below))
    assert what.startswith(f"can't write {tmp_path / 'file' / below}: ")
    assert "a part of the path is a file" in hint
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_target_is_a_folder(tmp_path):
    (tmp_path / "file").mkdir()
    assert lines(refusal(tmp_path / "file"))[0].startswith(f"can't write {tmp_path / 'file'}: ")
    assert (tmp_path / "file").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_text_that_the_kernel_refuses_half_way(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with file_size_limit(4096):
        error = refusal(path, "x" * 9999)
    assert lines(error)[0].startswith(f"can't write {path}: ")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_that_the_kernel_refuses_half_way(tmp_path):
    # safetensors raises an error of its own for what the disk refused
    path = tmp_path / "test.safetensors"
    path.write_text("old")
    none = np.zeros(0, dtype=np.int64)
    predictions = Predictions(("a", "b"), np.zeros((5000, 2), np.float32), none, none, none, none)
    with file_size_limit(4096), pytest.raises(StorageError) as caught:
        predictions.write(path)
    assert lines(caught.value)[0].startswith(f"can't write {path}: ")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
