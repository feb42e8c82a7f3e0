"""What parts of a user's own keep is resumed to the last bit, or refused before it is saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifarlab.config.plugins import Plugin, add_plugin
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, RecipeError
from cifarlab.training.train import train

FILE = Path(__file__).with_name("keeping_parts.py")
REFUSED = {
    "list": "the optimizer keeps state.0.losses, of type list",
    "text": "the optimizer keeps state.0.phase, of type str",
    "stray": "the optimizer keeps state['global'], of type dict",
    "stray number": "the optimizer keeps state['steps'], of type int",
    "group tensor": "the optimizer keeps groups.0.mean, of type Tensor",
    "group list": "the optimizer keeps groups.0.losses, of type list",
    "group tuple": "the optimizer keeps groups.0.betas, of type tuple",
    "averager": "the averager keeps losses, of type list",
    "schedule": "the schedule keeps losses, of type list",
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return add_plugin(str(FILE), named_by_user=True)


def keeping(plugin: Plugin, what: str) -> dict[str, Any]:
    part = {"averager": "averaging", "schedule": "schedule"}.get(what, "optimizer")
    settings = {"kind": "keeping"} | ({"keeps": what} if part == "optimizer" else {})
    return {"plugins": [plugin.model_dump()], part: settings}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_checkpoint_can_hold_is_refused_before_one_is_written(
    tmp_path: Path, tiny: Callable[..., Recipe], plugin: Plugin, what: str
) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(RecipeError) as caught:
        train(tiny(keeping(plugin, what)), folder)
    assert caught.value.what.startswith(REFUSED[what] + ", ")
    assert not folder.checkpoints.exists()


def test_the_last_checkpoint_that_could_hold_all_stays(
    tmp_path: Path, tiny: Callable[..., Recipe], plugin: Plugin
) -> None:
    first, uninterrupted = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "whole")
    train(
        tiny(keeping(plugin, "") | {"training.duration": "1 epoch", "schedule.kind": "constant"}),
        first,
    )
    changes = keeping(plugin, "group text") | {"schedule.kind": "constant"}
    with pytest.raises(RecipeError, match=r"groups\.0\.name, of type str"):
        train(tiny(changes), uninterrupted)
    saved, expected = uninterrupted.weights("last"), first.weights("last")
    assert saved.read_bytes() == expected.read_bytes()
    assert [line["epoch"] for line in uninterrupted.metrics.read()] == [1, 2]


def test_tensors_of_any_type_are_resumed_bit_for_bit(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    plugin: Plugin,
    end_of: Callable,
    signal_after: Callable,
) -> None:
    uninterrupted, resumed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    recipe = tiny(keeping(plugin, "types"))
    train(recipe, uninterrupted)
    for step in (3, 14):
        with pytest.raises(Interrupted):
            train(recipe, resumed, resume=resumed.exists, callbacks=[signal_after(step)])
    train(recipe, resumed, resume=True)
    assert end_of(resumed) == end_of(uninterrupted)
