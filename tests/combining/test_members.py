"""Which runs are combined, and which are refused: the combined accuracy has to be a true one."""

from pathlib import Path
from typing import Any

import pytest

from cifarlab.combining.combine import combine_runs
from cifarlab.combining.members import load_members
from cifarlab.combining.soup import average_weights
from cifarlab.data.opening import open_data
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.training.train import train

QUICK = {"training.duration": "2 steps", "evaluation.test": False, "seed": 5}


@pytest.fixture
def train_run(tiny, tmp_path: Path):
    """A function: a run of two steps with other settings."""

    def make(changes: dict[str, Any], name: str = "other") -> RunFolder:
        train(tiny(QUICK | changes), tmp_path / name, callbacks=())
        return RunFolder(tmp_path / name)

    return make


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"data.split_seed": 1}, "held out other images"),
        ({"data.val_fraction": 0.2}, "held out other images"),
        ({"data.val_fraction": 0.0}, "held out other images"),
        ({"data.test_fraction": 0.25}, "held out other images|cut off other test images"),
        ({"data.normalization": "image"}, "another data.normalization"),
        ({"data.images.size": 12, "data.images.resize_mode": "stretch"}, "another image size"),
        ({"training.precision": "bfloat16"}, "another arithmetic"),
        ({"evaluation.tta_views": 2}, "other test-time views"),
    ],
)
def test_runs_that_differ_are_refused(seeds: list[Path], train_run, changes, refusal) -> None:
    other = train_run(changes)
    with pytest.raises(UserError, match=refusal):
        load_members([RunFolder(seeds[0]), other])


def test_runs_on_other_test_images_are_refused(tiny, train_run) -> None:
    """Without images held out nothing else sets the two apart."""
    runs = [
        train_run({"data.val_fraction": 0.0, "data.split_seed": seed}, f"s{seed}")
        for seed in (0, 1)
    ]
    with pytest.raises(UserError, match="cut off other test images"):
        load_members(runs)


def test_runs_on_other_training_images_are_combined_and_noted(seeds: list[Path], train_run) -> None:
    fraction = train_run({"data.train_subset_fraction": 0.5})
    assert not load_members([RunFolder(seeds[0]), fraction]).same_training_images
    noisy = train_run({"data.label_noise": {"kind": "symmetric", "noise_rate": 0.2}}, "noisy")
    assert not load_members([RunFolder(seeds[0]), noisy]).same_training_images
    assert load_members([RunFolder(path) for path in seeds]).same_training_images


def test_one_run_the_same_twice_and_an_unfinished_one(seeds: list[Path], copied) -> None:
    with pytest.raises(UserError, match="one run alone"):
        combine_runs(seeds[:1])
    with pytest.raises(UserError, match="the same weights"):
        combine_runs([seeds[0], seeds[0]])
    copied.result_file.unlink()
    with pytest.raises(RunFolderError, match="has not finished"):
        combine_runs([seeds[0], copied.path])
    with pytest.raises(UserError, match="'mixture'"):
        combine_runs(seeds, "mixture")


def test_a_soup_needs_one_network_and_validation_images(seeds: list[Path], train_run) -> None:
    other = train_run({"model.channels": [4, 12]})
    with pytest.raises(UserError, match="another network"):
        average_weights(load_members([RunFolder(seeds[0]), other]))
    runs = [train_run({"data.val_fraction": 0.0, "seed": seed}, f"s{seed}") for seed in (0, 1)]
    members = load_members(runs)
    with pytest.raises(UserError, match="held nothing out, and a soup may be worth nothing"):
        average_weights(members)


def test_a_source_is_opened_once(seeds: list[Path], monkeypatch) -> None:
    opened = []

    def count(*arguments: Any) -> Any:
        opened.append(arguments)
        return open_data(*arguments)

    monkeypatch.setattr("cifarlab.combining.members.open_data", count)
    assert len(load_members([RunFolder(path) for path in seeds]).runs) == 3
    assert len(opened) == 1
