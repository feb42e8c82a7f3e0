"""The run folder: one writer at a time, and clear words for what is missing, damaged or foreign."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from cifarlab.dashboard.index import Index
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, to_yaml
from cifarlab.run_folder.audit_findings import IMAGES, Audit
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import finished_runs
from cifarlab.system.errors import RunFolderError, StorageError

HOLD = """
import sys
from cifarlab.run_folder.folder import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.write_recipe(build({"seed": 3}))
    return made


@pytest.fixture
def holder(folder):
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def lock(folder):
    with folder.lock():
        return True


def test_a_folder_held_by_another_process_is_refused_until_that_dies(folder, holder):
    with pytest.raises(RunFolderError) as caught:
        lock(folder)
    what, hint = str(caught.value).split("\n")
    assert what == f"{folder.path} is in use by another process"
    assert "--run" in hint
    holder.kill()  # without a chance to clean up
    holder.wait()
    assert lock(folder)


def test_a_held_folder_can_be_read(folder, holder):
    assert folder.recipe() == build({"seed": 3})
    assert folder.metrics.read() == []


def test_a_folder_is_free_again_after_its_writer_ended_or_failed(folder):
    assert lock(folder)
    with pytest.raises(KeyError), folder.lock():
        raise KeyError
    assert lock(folder)


def test_a_second_writer_in_the_same_process_is_refused_too(folder):
    with folder.lock(), pytest.raises(RunFolderError, match="in use"):
        lock(RunFolder(folder.path))


def test_a_folder_below_a_file_can_not_be_taken(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a part of the path is a file"):
        lock(RunFolder(tmp_path / "file" / "run"))


def test_a_folder_comes_into_being_with_its_recipe(tmp_path):
    folder = RunFolder(str(tmp_path / "a" / "run"))
    assert not folder.exists
    folder.write_recipe(Recipe())
    assert folder.exists
    assert not folder.is_finished
    assert folder.require() is folder
    assert folder.recipe() == Recipe()


@pytest.mark.parametrize("foreign", [None, "a folder", "a file"])
def test_what_is_no_run_folder(tmp_path, foreign):
    path = tmp_path / "theirs"
    if foreign == "a folder":
        path.mkdir()
        (path / "notes.txt").touch()
    elif foreign == "a file":
        path.touch()
    for use in (RunFolder(path).require, RunFolder(path).recipe):
        with pytest.raises(RunFolderError, match=r"is no run folder: it has no recipe\.yaml"):
            use()


def test_the_format_is_written_before_the_recipe(tmp_path, monkeypatch):
    folder, names = RunFolder(tmp_path / "run"), []
    monkeypatch.setattr(
        "cifarlab.system.files.write_bytes", lambda path, _: names.append(path.name)
    )
    folder.write_recipe(Recipe())
    assert names == ["format.json", "recipe.yaml"]


def test_a_start_killed_after_the_format_leaves_the_folder_vacant(folder):
    folder.recipe_file.unlink()
    assert folder.format_file.exists() and folder.is_vacant and not folder.exists
    assert lock(folder)
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("an older cifarlab", "not written down")),
        ('{"format": 0}', ("an older cifarlab", "not written down")),
        ('{"format": 2}', ("a newer cifarlab", "its format is 2, this version reads 1")),
        ('{"format": "1"}', ("format.json", "integer")),
        ("{}", ("an older cifarlab", "not written down")),
    ],
)
def test_another_format_is_refused(folder, content, words):
    folder.format_file.unlink()
    if content is not None:
        folder.format_file.write_text(content)
    for read in (folder.require, folder.recipe):
        with pytest.raises(RunFolderError) as caught:
            read()
        assert len(str(caught.value).splitlines()) == 2
        assert all(word in caught.value.what for word in (str(folder.path), *words))
    assert Index(folder.path.parent).listing().unrecognized_entries[0][0] == "run"


@pytest.mark.parametrize("number", [2, 0, None])
@pytest.mark.parametrize("kind", [StudyFolder, SearchFolder, Audit])
def test_studies_searches_and_audits_say_their_format_too(tmp_path, kind, number):
    folder = kind(tmp_path)
    images = {name: np.zeros((1, 1), np.uint8) for name in IMAGES}
    folder.write({"scale": 1.0}, *([images] if kind is Audit else []))
    file, read = (
        (folder.findings_file, folder.findings) if kind is Audit else (folder.file, folder.content)
    )
    assert read() == {"format": 1, "scale": 1.0}
    later = {"scale": "whatever"} | ({} if number is None else {"format": number})
    file.write_text(json.dumps(later))
    age = "a newer" if number == 2 else "an older"
    with pytest.raises(RunFolderError, match=f"{tmp_path} was written by {age} cifarlab"):
        read()


def test_a_finished_run_of_another_format_is_not_reused(folder):
    folder.write_result({"fingerprint": "abc"})
    assert list(finished_runs(folder.path.parent)) == ["abc"]
    folder.format_file.write_text('{"format": 2}')
    assert not finished_runs(folder.path.parent)


def test_provenance_and_result(folder):
    assert (folder.provenance(), folder.result()) == ({}, None)
    folder.write_provenance({"device": "cpu", "starts": [{"step": 0}]})
    folder.write_result({"test": {"accuracy": 0.5}})
    assert folder.provenance() == {"device": "cpu", "starts": [{"step": 0}]}
    assert folder.result() == {"test": {"accuracy": 0.5}}
    assert folder.is_finished


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'{"a": 1', "can't read"),
        (b"", "can't read"),
        (b"\xff\xfe", "can't read"),
        (b"[1]", "holds no JSON object"),
        (b"null", "holds no JSON object"),
    ],
)
@pytest.mark.parametrize("name", ["provenance.json", "result.json"])
def test_a_damaged_file_is_named(folder, name, content, what):
    (folder.path / name).write_bytes(content)
    read = folder.result if name == "result.json" else folder.provenance
    with pytest.raises(RunFolderError) as caught:
        read()
    first, hint = str(caught.value).split("\n")
    assert what in first
    assert str(folder.path / name) in first
    assert hint


def test_a_folder_instead_of_a_file(folder):
    folder.result_file.mkdir()
    with pytest.raises(RunFolderError, match="can't read"):
        folder.result()


@pytest.mark.parametrize("provenance", [{}, {"data": {}}, {"data": {"fingerprint": "abc"}}])
def test_the_same_images_or_unknown_ones_pass(folder, provenance):
    folder.write_provenance(provenance)
    assert folder.has_same_data("abc")
    folder.require_same_data("abc")  # raises nothing


def test_other_images_are_refused(folder):
    folder.write_provenance({"data": {"fingerprint": "abc"}})
    with pytest.raises(RunFolderError, match="the images are not those"):
        folder.require_same_data("abd")


def test_the_recipe_file_is_the_whole_recipe(folder):
    assert folder.recipe_file.read_text() == to_yaml(build({"seed": 3}))


WRITE = """
import os, sys
from pathlib import Path
from cifarlab.system.files import write_text
def wait(_):
    print("writing", flush=True)
    sys.stdin.readline()
os.fsync = wait
write_text(Path(sys.argv[1]), "whole")
"""


def test_only_what_killed_writers_left_is_removed(folder):
    target = folder.path / "audit" / "findings.json"
    command = [sys.executable, "-c", WRITE, str(target)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as killed, subprocess.Popen(command, **pipes) as living:
        for process in (killed, living):
            assert process.stdout.readline() == "writing\n"
        left, used = (
            next(target.parent.glob(f".*-{process.pid}.part")) for process in (killed, living)
        )
        killed.kill()
        killed.wait()
        assert left.exists() and used.exists()
        assert lock(folder)
        assert not left.exists() and used.read_text() == "whole" and not target.exists()
        living.communicate("\n\n")
    assert target.read_text() == "whole"


def test_a_folder_can_be_pickled_for_another_process(folder):
    folder.metrics.append({"epoch": 1})
    copy = pickle.loads(pickle.dumps(folder))
    assert copy.path == folder.path and copy.metrics.read() == [{"epoch": 1}]
