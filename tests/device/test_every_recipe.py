"""Every shipped recipe on a device like a GPU: steps, checkpoint, evaluation, maps."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from device_runs import WaitRecorder, find_differences, read_outcome, train_in_two
from mock_device import use_mock_device
from small_recipes import RECIPES, RUN, SETTINGS, settings

from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.train import train


def test_no_recipe_has_a_setting_that_is_not_run_here() -> None:
    run = set().union(*(settings(recipe.model_dump(mode="json")) for recipe in RUN.values()))
    run.add(("model.padding", "valid"))  # the digits are too small for it; tests/models has it
    assert len(RECIPES) > 90
    assert {name: missing for name, all_ in SETTINGS.items() if (missing := all_ - run)} == {}


@pytest.mark.parametrize("name", RUN)
def test_a_recipe_trains_alike_on_both_devices(
    name: str, tmp_path: Path, signal_after: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # takes longer than the steps
    recipe = RUN[name]
    plain = RunFolder(tmp_path / "processor")
    train(recipe, plain)
    expected = read_outcome(plain)
    for index in (True, False):
        folder = RunFolder(tmp_path / f"device {index}")
        with use_mock_device(index=index) as device:
            recorder = WaitRecorder(device)
            train_in_two(recipe, folder, recorder, signal_after(1))
            assert not find_differences(vars(read_outcome(folder)), vars(expected))
        assert recorder.count == 2
        assert recorder.waits == []
