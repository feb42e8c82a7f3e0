"""What a user's own part raises within training ends the run in two lines, with file and line."""

from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any

import pytest

from cifarlab.config.plugins import Plugin, add_plugin
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import PluginError
from cifarlab.training.callbacks import name_callbacks
from cifarlab.training.train import train

FILE = Path(__file__).with_name("late_parts.py")
CHOICES: dict[str, dict[str, Any]] = {
    "loss": {"loss": {"kind": "late"}},
    "network": {"model": {"kind": "late"}},
    "optimizer": {"optimizer": {"kind": "late"}},
    "schedule": {"schedule": {"kind": "late"}},
    "averaging": {"averaging": {"kind": "late"}},
    "metric": {"evaluation.metric": "late"},
    "augmentation": {"augment.extra": [{"kind": "late"}]},
    "mix": {"augment.mix": {"kind": "late"}},
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return add_plugin(str(FILE), named_by_user=True)


def require_two_lines(error: PluginError) -> None:
    """Assert that the error names the line of the plug-in that raised, and says nothing else."""
    cause = error.__cause__
    assert cause is not None
    line = [
        frame.lineno for frame in extract_tb(cause.__traceback__) if frame.filename == str(FILE)
    ][-1]
    what, hint = str(error).split("\n")
    assert what.endswith(f" fails in {FILE}, line {line}: {type(cause).__name__}: {cause}")
    assert hint == "mend it there"
    assert error.exit_code == 2


@pytest.mark.parametrize("family", CHOICES)
def test_a_part_that_fails_within_training(
    tmp_path: Path, tiny: Callable[..., Recipe], plugin: Plugin, family: str
) -> None:
    recipe = tiny({"plugins": [plugin.model_dump()], **CHOICES[family]})
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(PluginError) as caught:
        train(recipe, folder, callbacks=())
    require_two_lines(caught.value)
    assert folder.exists and not folder.is_finished


def test_a_callback_that_fails(tmp_path: Path, tiny: Callable[..., Recipe], plugin: Plugin) -> None:
    callbacks = name_callbacks(["late"], [plugin]).build_callbacks()
    with pytest.raises(PluginError) as caught:
        train(tiny(), RunFolder(tmp_path / "run"), callbacks=callbacks)
    require_two_lines(caught.value)


def test_what_our_code_raises_stays_as_it_is(
    tmp_path: Path, tiny: Callable[..., Recipe], plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("cifarlab.training.loop.step", fail)
    recipe = tiny({"plugins": [plugin.model_dump()], "loss": {"kind": "late"}})
    with pytest.raises(KeyError, match="ours"):
        train(recipe, RunFolder(tmp_path / "run"), callbacks=())
