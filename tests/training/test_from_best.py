"""Going on from the best epoch, as fudan did: its weights, its optimizer's state, no others."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cifarlab.config.duration import Duration
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Extension, Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError, Interrupted, RecipeError, UserError
from cifarlab.system.files import read_arrays
from cifarlab.training.callback import Callback
from cifarlab.training.extend import extend_run
from cifarlab.training.request import resolve_request
from cifarlab.training.run import Run
from cifarlab.training.train import train

# it overshoots later on, so that the best epoch is not the last one
CHANGES = {"training.duration": "4 epochs", "optimizer.lr": 0.8, "schedule.kind": "constant"}
HOLD = Extension(duration=Duration.parse("2 epochs"), schedule="hold", start="best")


@pytest.fixture(scope="module")
def finished(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose best epoch is not its last."""
    folder = RunFolder(tmp_path_factory.mktemp("best") / "run")
    for seed in range(20):
        shutil.rmtree(folder.path, ignore_errors=True)
        result = train(tiny({**CHANGES, "seed": seed}), folder)
        if result["best"]["epoch"] < 4:
            return folder
    raise AssertionError("no run has its best epoch before its last")


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(finished.path, tmp_path / "copied")
    return RunFolder(tmp_path / "copied")


def scratch_run(folder: RunFolder, path: Path, extension: Extension = HOLD) -> RunFolder:
    """The same run, planned with its extension from the start."""
    recipe = folder.recipe()
    extensions = recipe.training.model_copy(update={"extensions": (extension,)})
    planned = RunFolder(path)
    train(recipe.model_copy(update={"training": extensions}), planned)
    return planned


def test_extended_from_best_equals_planned_so(
    copied: RunFolder, tmp_path: Path, end_of: Callable
) -> None:
    recipe, folder = extend_run(copied, HOLD)
    assert folder.path.name == "copied+2-epochs-hold-from-best"
    train(recipe, folder, resume=True)
    assert end_of(folder) == end_of(scratch_run(copied, tmp_path / "scratch"))


def test_it_starts_with_the_weights_and_the_momentum_of_the_best_epoch(copied: RunFolder) -> None:
    _, best = WeightsFile.read(copied.weights("best"))
    momenta, counters = read_arrays(copied.weights("best.state"), "pt")
    recipe, folder = extend_run(copied, HOLD)
    started: dict[str, torch.Tensor] = {}

    class EpochRecorder(Callback):
        def on_step_end(self, run: Run, images: int) -> None:
            if run.state.step == 45:
                weights = run.state.classifier.state_dict()
                started.update({name: value.clone() for name, value in weights.items()})

    train(recipe, folder, resume=True, callbacks=[EpochRecorder()])
    assert counters["epoch"] == (copied.result() or {})["best"]["epoch"]
    assert any(key.endswith("momentum_buffer") for key in momenta)
    assert started.keys() == best.keys()
    last = WeightsFile.read(copied.weights("last"))[1]
    for name, weights in started.items():  # one step away from best, and far from last
        if weights.is_floating_point() and weights.ndim == 4:
            assert (weights - best[name]).norm() < (weights - last[name]).norm()


def test_an_interrupted_extension_is_resumed(
    copied: RunFolder, tmp_path: Path, end_of: Callable, signal_after: Callable
) -> None:
    recipe, folder = extend_run(copied, HOLD)
    with pytest.raises(Interrupted):
        train(recipe, folder, resume=True, callbacks=[signal_after(50)])
    train(recipe, folder, resume=True)
    assert end_of(folder) == end_of(scratch_run(copied, tmp_path / "scratch"))


def test_a_run_is_resumed_from_its_best_epoch_as_it_was_then(
    finished: RunFolder, tmp_path: Path, end_of: Callable, signal_after: Callable
) -> None:
    """The epochs behind the best one are trained once more, and are the same."""
    folder, epochs = RunFolder(tmp_path / "run"), []

    class EpochRecorder(Callback):
        def on_epoch_end(self, run: Run, line: dict) -> None:
            epochs.append(line["epoch"])

    with pytest.raises(Interrupted):
        train(finished.recipe(), folder, callbacks=[signal_after(40)])
    best = max(folder.metrics.read(), key=lambda line: line["val"]["accuracy"])["epoch"]
    train(finished.recipe(), folder, resume="best", callbacks=[EpochRecorder()])
    assert epochs == list(range(best + 1, 5))
    assert end_of(folder) == end_of(finished)


def test_killed_before_the_best_state_was_written_it_goes_on(
    copied: RunFolder, tmp_path: Path, end_of: Callable
) -> None:
    """``last`` is the best epoch then, and gives it back."""
    recipe = copied.recipe()
    short = recipe.training.model_copy(update={"duration": Duration.parse("1 epoch")})
    folder = RunFolder(tmp_path / "short")
    train(recipe.model_copy(update={"training": short}), folder)
    folder.weights("best.state").unlink()
    longer = Extension(duration=Duration.parse("1 epoch"), schedule="hold", start="best")
    extended, target = extend_run(folder, longer)
    train(extended, target, resume=True)
    assert target.weights("best.state").exists()
    assert end_of(target) == end_of(scratch_run(folder, tmp_path / "scratch", longer))


def test_a_state_that_is_missing_or_another_is_refused(copied: RunFolder) -> None:
    recipe, folder = extend_run(copied, HOLD)
    folder.weights("best.state").write_bytes(folder.weights("last.state").read_bytes())
    with pytest.raises(CheckpointError, match="is not of epoch"):
        train(recipe, folder, resume=True)
    folder.weights("best.state").unlink()
    with pytest.raises(CheckpointError, match=r"best\.state"):
        train(recipe, folder, resume=True)


def test_the_command_line_says_where_it_goes_on(copied: RunFolder) -> None:
    request = resolve_request(
        "tiny", run=copied.path, extend="1 epoch", schedule="hold", start="best"
    )
    assert request.recipe.training.extensions[0].start == "best"
    with pytest.raises(UserError, match="--start best"):
        resolve_request("quickstart", start="best")
    with pytest.raises(UserError, match="--start first"):
        resolve_request("quickstart", resume=True, start="first")


def test_without_validation_images_there_is_no_best_epoch(tiny: Callable) -> None:
    with pytest.raises(RecipeError, match="val_fraction"):
        tiny({"data.val_fraction": 0.0, "training.extensions": [HOLD.model_dump(mode="json")]})
