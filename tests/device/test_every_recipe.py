"""Every shipped recipe on a device like a GPU: steps, checkpoint, evaluation, maps."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from on_a_device import WaitRecorder, outcome, require_alike, train_in_two
from pretended_device import pretended
from small_recipes import RECIPES, RUN, SETTINGS, settings

from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.train import train


def test_no_recipe_has_a_setting_that_is_not_run_here() -> None:
    run = set().union(*(settings(recipe.model_dump(mode="json")) for recipe in RUN.values()))
    assert len(RECIPES) > 90
    assert {name: told - run for name, told in SETTINGS.items() if told - run} == {}


@pytest.mark.parametrize("name", RUN)
def test_a_recipe_trains_and_tells_the_same(
    name: str, tmp_path: Path, signal_after: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # takes longer than the steps
    recipe = RUN[name]
    plain = RunFolder(tmp_path / "processor")
    train(recipe, plain)
    wanted = outcome(plain)
    for index in (True, False):
        folder = RunFolder(tmp_path / f"device {index}")
        with pretended(index=index) as device:
            recorder = WaitRecorder(device)
            train_in_two(recipe, folder, recorder, signal_after(1))
            require_alike(vars(outcome(folder)), vars(wanted))
        assert recorder.count == 2
        assert recorder.waits == []
