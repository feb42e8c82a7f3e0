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

REAL = Path.replace
SHORT = {"training.duration": "2 epochs", "evaluation.checkpoint": "best"}
RENAMES = 17  # of a run of two epochs that both improve; the last test counts them


class KilledError(BaseException):
    """Nothing in cifarlab catches it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    train(tiny(SHORT), folder)
    return folder


def die_before(patch: pytest.MonkeyPatch, rename: int) -> list[str]:
    """From that renaming on nothing reaches the disk any more; gives the names renamed so far."""
    done: list[str] = []

    def replace(self: Path, target: Any) -> Path:
        if len(done) >= rename:
            raise KilledError
        done.append(Path(target).name)
        return REAL(self, target)

    patch.setattr(Path, "replace", replace)
    # a killed process does not tidy up either
    patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    return done


def killed_at(rename: int, recipe: Recipe, folder: RunFolder) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        done = die_before(patch, rename)
        with pytest.raises(KilledError):
            train(recipe, folder, resume=folder.exists)
    return done


@pytest.mark.parametrize("rename", range(RENAMES))
def test_resumed_after_a_kill_there(
    tmp_path: Path, tiny: Callable, whole: RunFolder, end_of: Callable, rename: int
) -> None:
    folder = RunFolder(tmp_path / "run")
    killed_at(rename, tiny(SHORT), folder)
    assert not folder.is_finished
    train(tiny(SHORT), folder, resume=folder.exists)
    assert end_of(folder) == end_of(whole)


@pytest.mark.parametrize("rename", range(RENAMES))
def test_an_epoch_that_ends_otherwise_when_it_is_trained_again_can_be_finished(
    tmp_path: Path, tiny: Callable, monkeypatch: pytest.MonkeyPatch, rename: int
) -> None:
    """As on a GPU: ``best`` must not be of an epoch that the resumed run finds worse."""
    folder, real = RunFolder(tmp_path / "run"), loop.validate
    killed_at(rename, tiny(SHORT), folder)
    monkeypatch.setattr(loop, "validate", lambda run: {**real(run), "accuracy": 0.01})
    result = train(tiny(SHORT), folder, resume=folder.exists)
    about, _ = WeightsFile.read(folder.weights("best"))
    assert about.epoch == result["best"]["epoch"] == result["evaluated"]["epoch"]


@pytest.mark.parametrize("rename", range(RENAMES))
def test_whatever_is_there_can_be_read(tmp_path: Path, tiny: Callable, rename: int) -> None:
    """A report or an evaluation may look at a run whose writer was killed."""
    folder = RunFolder(tmp_path / "run")
    killed_at(rename, tiny(SHORT), folder)
    folder.metrics.read()
    folder.provenance()
    if folder.exists:
        assert folder.recipe() == tiny(SHORT)
    for name in ("last", "best"):
        if folder.weights(name).exists():
            Predictor.load(folder.weights(name))


def test_killed_at_each_boundary_in_turn(
    tmp_path: Path, tiny: Callable, whole: RunFolder, end_of: Callable
) -> None:
    """Each start gets one renaming further than the one before it."""
    folder = RunFolder(tmp_path / "run")
    for rename in itertools.count():
        if rename == RENAMES:
            break
        try:
            killed_at(rename, tiny(SHORT), folder)
        except pytest.fail.Exception:  # it reached the end
            break
    if not folder.is_finished:
        train(tiny(SHORT), folder, resume=True)
    assert end_of(folder) == end_of(whole)


def test_the_boundaries_are_all_there_are(tmp_path: Path, tiny: Callable) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        done = die_before(patch, 10**6)
        train(tiny(SHORT), folder)
    assert len(done) == RENAMES
    assert done[:3] == ["format.json", "recipe.yaml", "provenance.json"]
    assert done[-1] == "result.json"
    assert {"last.safetensors", "last.state.safetensors", "best.safetensors"} <= set(done)
