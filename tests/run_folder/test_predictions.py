"""Predictions survive their file; a damaged one is named, never half read."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.errors import RunFolderError

ARRAYS = ("logits", "labels", "indices", "mistakes", "mistake_images")


def made(mistakes=3):
    draws = np.random.default_rng(0)
    return Predictions(
        classes=("cat", "dög", "a, b"),
        logits=draws.normal(size=(7, 3)).astype(np.float32),
        labels=draws.integers(0, 3, 7),
        indices=np.arange(7)[::-1],  # not contiguous
        mistakes=np.arange(mistakes),
        mistake_images=draws.integers(0, 256, (mistakes, 4, 4, 1), dtype=np.uint8),
    )


@pytest.mark.parametrize("mistakes", [0, 3])
def test_all_of_it_is_read_again(tmp_path, mistakes):
    path = tmp_path / "predictions" / "test.safetensors"
    made(mistakes).write(path)
    loaded = Predictions.read(path)
    assert loaded.classes == ("cat", "dög", "a, b")
    for name in ARRAYS:
        first, other = getattr(made(mistakes), name), getattr(loaded, name)
        assert first.dtype == other.dtype
        np.testing.assert_array_equal(first, other)


def test_mistakes_have_names_or_else_their_index(tmp_path):
    path = tmp_path / "test.safetensors"
    named = replace(made(), mistake_names=("a/1.png", "b/<i>.png", "c/\udcff.png"))
    named.write(path)
    loaded = Predictions.read(path)
    assert [loaded.mistake_name(k) for k in range(3)] == [
        *named.mistake_names[:2],
        "c/\\udcff.png",  # what no file can hold is an escape
    ]
    arrays = {name: np.ascontiguousarray(getattr(made(), name)) for name in ARRAYS}
    about = {"classes": made().classes, "fingerprint": ""}  # an old one
    save_file(arrays, path, {"cifarlab": json.dumps(about)})
    assert [Predictions.read(path).mistake_name(k) for k in range(2)] == ["index 6", "index 5"]


def test_the_same_predictions_are_the_same_bytes(tmp_path):
    for name in "ab":
        made().write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def is_refused(path):
    """Return whether reading the file is refused in two lines, with its name and a hint."""
    with pytest.raises(RunFolderError) as caught:
        Predictions.read(path)
    what, hint = str(caught.value).split("\n")
    return what.startswith(f"can't read predictions {path}: ") and "restore" in hint


@pytest.mark.parametrize("n_bytes", [0, 7, 8, 100, 400, -1])
def test_a_cut_file(tmp_path, n_bytes):
    path = tmp_path / "test.safetensors"
    made().write(path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    assert is_refused(path)


@pytest.mark.parametrize("content", [b"not safetensors at all", bytes(64), b"\xff" * 64])
def test_a_file_of_something_else(tmp_path, content):
    path = tmp_path / "test.safetensors"
    path.write_bytes(content)
    assert is_refused(path)


@pytest.mark.parametrize("missing", ARRAYS)
def test_an_array_is_missing(tmp_path, missing):
    path = tmp_path / "test.safetensors"
    arrays = {n: np.ascontiguousarray(getattr(made(), n)) for n in ARRAYS if n != missing}
    save_file(arrays, path, {"cifarlab": '{"classes": [], "fingerprint": ""}'})
    assert is_refused(path)


@pytest.mark.parametrize(
    "metadata", [None, {"other": "x"}, {"cifarlab": "["}, {"cifarlab": '{"classes": 3}'}]
)
def test_the_classes_are_missing_or_damaged(tmp_path, metadata):
    path = tmp_path / "test.safetensors"
    save_file({n: np.ascontiguousarray(getattr(made(), n)) for n in ARRAYS}, path, metadata)
    assert is_refused(path)


def test_no_file_and_a_folder(tmp_path):
    assert is_refused(tmp_path / "missing.safetensors")
    assert is_refused(tmp_path)
