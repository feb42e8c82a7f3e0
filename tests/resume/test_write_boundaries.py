"""A kill before each renaming of a run: setup, metrics log, best, last, predictions, result."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifarlab.inference.predictor import Predictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training import loop
from cifarlab.training.train import train

REAL_REPLACE = Path.replace
TWO_EPOCHS = {"training.duration": "2 epochs", "evaluation.checkpoint": "best"}
RENAMES = 19  # of a run of two epochs that both improve; the last test counts them


class KilledError(BaseException):
    """Nothing in cifarlab catches it."""


@pytest.fixture(scope="module")
def uninterrupted_run(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]
) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("uninterrupted") / "run")
    train(tiny(TWO_EPOCHS), folder)
    return folder


def die_before(patch: pytest.MonkeyPatch, rename: int) -> list[str]:
    """From that renaming on nothing reaches the disk any more; gives the names renamed so far."""
    names: list[str] = []

    def replace(self: Path, target: Any) -> Path:
        if len(names) >= rename:
            raise KilledError
        names.append(Path(target).name)
        return REAL_REPLACE(self, target)

    patch.setattr(Path, "replace", replace)
    # a killed process does not tidy up either
    patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    return names


def train_until_killed(rename: int, recipe: Recipe, folder: RunFolder) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        names = die_before(patch, rename)
        with pytest.raises(KilledError):
            train(recipe, folder, resume=folder.exists)
    return names


@pytest.mark.parametrize("rename", range(RENAMES))
def test_resumed_after_a_kill_there(
    tmp_path: Path, tiny: Callable, uninterrupted_run: RunFolder, end_of: Callable, rename: int
) -> None:
    folder = RunFolder(tmp_path / "run")
    train_until_killed(rename, tiny(TWO_EPOCHS), folder)
    assert not folder.is_finished
    train(tiny(TWO_EPOCHS), folder, resume=folder.exists)
    assert end_of(folder) == end_of(uninterrupted_run)


@pytest.mark.parametrize("rename", range(RENAMES))
def test_an_epoch_that_ends_otherwise_when_it_is_trained_again_can_be_finished(
    tmp_path: Path, tiny: Callable, monkeypatch: pytest.MonkeyPatch, rename: int
) -> None:
    """As on a GPU: ``best`` must not be of an epoch that the resumed run finds worse."""
    folder, real = RunFolder(tmp_path / "run"), loop.validate
    train_until_killed(rename, tiny(TWO_EPOCHS), folder)
    monkeypatch.setattr(loop, "validate", lambda run: {**real(run), "accuracy": 0.01})
    result = train(tiny(TWO_EPOCHS), folder, resume=folder.exists)
    about, _ = WeightsFile.read(folder.weights("best"))
    assert about.epoch == result["best"]["epoch"] == result["evaluated"]["epoch"]


@pytest.mark.parametrize("rename", range(RENAMES))
def test_whatever_is_there_can_be_read(tmp_path: Path, tiny: Callable, rename: int) -> None:
    """A report or an evaluation may look at a run whose writer was killed."""
    folder = RunFolder(tmp_path / "run")
    train_until_killed(rename, tiny(TWO_EPOCHS), folder)
    folder.metrics.read()
    folder.provenance()
    if folder.exists:
        assert folder.recipe() == tiny(TWO_EPOCHS)
    for name in ("last", "best"):
        if folder.weights(name).exists():
            Predictor.load(folder.weights(name))


def test_killed_at_each_boundary_in_turn(
    tmp_path: Path, tiny: Callable, uninterrupted_run: RunFolder, end_of: Callable
) -> None:
    """Each start gets one renaming further than the one before it."""
    folder = RunFolder(tmp_path / "run")
    for rename in itertools.count():
        if rename == RENAMES:
            break
        try:
            train_until_killed(rename, tiny(TWO_EPOCHS), folder)
        except pytest.fail.Exception:  # it reached the end
            break
    if not folder.is_finished:
        train(tiny(TWO_EPOCHS), folder, resume=True)
    assert end_of(folder) == end_of(uninterrupted_run)


def test_the_boundaries_are_all_there_are(tmp_path: Path, tiny: Callable) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        names = die_before(patch, 10**6)
        train(tiny(TWO_EPOCHS), folder)
    assert len(names) == RENAMES
    assert names[:3] == ["format.json", "recipe.yaml", "provenance.json"]
    assert names[-1] == "result.json"
    assert {"last.safetensors", "last.state.safetensors", "best.safetensors"} <= set(names)
