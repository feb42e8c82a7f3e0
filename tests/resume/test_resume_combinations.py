"""Interrupted and extended runs: averages, frozen groups, Muon, selection, and all at once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from combined_settings import ALL_SETTINGS, COMBINATIONS, LENGTH, STEPS_PER_EPOCH
from safetensors.torch import load_file
from torch import Tensor

from cifarlab.config.duration import Duration
from cifarlab.evaluation.run_evaluation import evaluate_run
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Extension
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError, Interrupted
from cifarlab.training.callback import Callback
from cifarlab.training.extend import extend_run
from cifarlab.training.run import Run
from cifarlab.training.train import train

AVERAGED = [name for name in COMBINATIONS if "averaging.kind" in COMBINATIONS[name]]


@pytest.fixture(scope="module")
def train_uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable
) -> Callable[[str], RunFolder]:
    """A function: the uninterrupted run of a combination. Read it, never write to it."""
    runs: dict[str, RunFolder] = {}

    def make(combination: str) -> RunFolder:
        if combination not in runs:
            runs[combination] = RunFolder(tmp_path_factory.mktemp("uninterrupted") / "run")
            train(tiny(COMBINATIONS[combination] | LENGTH), runs[combination])
        return runs[combination]

    return make


# in the middle of an average's cycle and at its end, in each size, and frozen
@pytest.mark.parametrize("step", [3, 8, 10, 15])
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_resumed_is_bit_identical(
    tmp_path: Path,
    tiny: Callable,
    train_uninterrupted: Callable,
    end_of: Callable,
    signal_after: Callable,
    combination: str,
    step: int,
) -> None:
    folder, recipe = RunFolder(tmp_path / "run"), tiny(COMBINATIONS[combination] | LENGTH)
    with pytest.raises(Interrupted, match=f"after step {step} of 18"):
        train(recipe, folder, callbacks=[signal_after(step)])
    train(recipe, folder, resume=True)
    assert end_of(folder) == end_of(train_uninterrupted(combination))


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_interrupted_many_times(
    tmp_path: Path,
    tiny: Callable,
    train_uninterrupted: Callable,
    end_of: Callable,
    signal_after: Callable,
    combination: str,
) -> None:
    folder, recipe = RunFolder(tmp_path / "run"), tiny(COMBINATIONS[combination] | LENGTH)
    for step in (1, 2, 5, 9, 11, 12, 14, 18):
        with pytest.raises(Interrupted):
            train(recipe, folder, resume=folder.exists, callbacks=[signal_after(step)])
    train(recipe, folder, resume=True)
    assert end_of(folder) == end_of(train_uninterrupted(combination))


@pytest.mark.parametrize("combination", [*AVERAGED, "frozen"])
def test_extended_equals_planned_that_long(
    tmp_path: Path,
    tiny: Callable,
    train_uninterrupted: Callable,
    end_of: Callable,
    combination: str,
) -> None:
    longer = Extension(duration=Duration.parse("8 steps"), schedule="restart")
    shutil.copytree(train_uninterrupted(combination).path, tmp_path / "copied")
    recipe, folder = extend_run(RunFolder(tmp_path / "copied"), longer)
    train(recipe, folder, resume=True)
    scratch = RunFolder(tmp_path / "scratch")
    extensions = [longer.model_dump(mode="json")]
    train(tiny(COMBINATIONS[combination] | LENGTH | {"training.extensions": extensions}), scratch)
    assert end_of(folder) == end_of(scratch)
    assert folder.result()["steps"] == 26


def test_the_seed_decides(
    tmp_path: Path, tiny: Callable, train_uninterrupted: Callable, end_of: Callable
) -> None:
    ends = []
    for seed in (0, 1):
        folder = RunFolder(tmp_path / str(seed))
        train(tiny(ALL_SETTINGS | LENGTH | {"seed": seed}), folder)
        ends.append(end_of(folder))
    assert ends[0] == end_of(train_uninterrupted("all settings"))
    assert all(ends[0][key] != ends[1][key] for key in ends[0])


class FastWeights(Callback):
    """A callback that copies the weights that training goes on with, after each step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_step_end(self, run: Run, images: int) -> None:
        tensors = run.state.classifier.state_dict()
        self.weights.append({name: t.clone() for name, t in tensors.items()})


def fast_weights(folder: RunFolder) -> dict[str, Tensor]:
    """The weights in the state file, which training goes on with."""
    tensors = load_file(folder.weights("last.state"))
    weights = {name.partition("trained.")[2]: t for name, t in tensors.items()}
    return {name: t for name, t in weights.items() if name}


def test_ema_is_judged_and_kept_while_training_goes_on_without(
    tmp_path: Path, tiny: Callable, train_uninterrupted: Callable
) -> None:
    fast, folder = FastWeights(), RunFolder(tmp_path / "reference")
    train(tiny(LENGTH), folder, callbacks=[fast])
    slow = {name: t.double() for name, t in fast.weights[1].items()}  # a copy up to the first two
    for step in range(3, 18, 2):
        slow = {name: 0.8 * slow[name] + 0.2 * t.double() for name, t in fast.weights[step].items()}
    ema = train_uninterrupted("ema")
    _, slow_weights = WeightsFile.read(ema.weights("last"))
    for name, value in slow_weights.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), slow[name], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(t, fast.weights[-1][name]) for name, t in fast_weights(ema).items())
    assert ema.result()["val"] != folder.result()["val"]
    reference, averaged = (f.metrics.read() for f in (folder, ema))
    assert [line["train"] for line in reference] == [line["train"] for line in averaged]
    assert all(a["val"] != b["val"] for a, b in zip(reference, averaged, strict=True))


def test_lookahead_sets_the_weights_of_training_back_to_the_kept_ones(
    tmp_path: Path, tiny: Callable, signal_after: Callable
) -> None:
    same = []
    for step in (3, 4, 5, 8):
        folder = RunFolder(tmp_path / str(step))
        with pytest.raises(Interrupted):
            train(tiny(COMBINATIONS["lookahead"] | LENGTH), folder, callbacks=[signal_after(step)])
        _, slow_weights = WeightsFile.read(folder.weights("last"))
        weights = fast_weights(folder)
        assert slow_weights.keys() == weights.keys()
        same.append(all(torch.equal(t, weights[name]) for name, t in slow_weights.items()))
    assert same == [
        True,
        True,
        False,
        True,
    ]  # before the first update, at step 4, nothing else is kept


def test_without_averaging_no_weights_are_kept_twice(train_uninterrupted: Callable) -> None:
    assert fast_weights(train_uninterrupted("frozen")) == {}


@pytest.mark.parametrize("combination", AVERAGED)
@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluating_the_checkpoint_gives_the_result(
    tmp_path: Path, train_uninterrupted: Callable, combination: str, split: str
) -> None:
    shutil.copytree(
        train_uninterrupted(combination).path, tmp_path / "copied"
    )  # an opening is written down
    folder = RunFolder(tmp_path / "copied")
    assert evaluate_run(folder, split)[0] == folder.result()[split]


def test_a_state_without_the_weights_of_training_is_refused(
    tmp_path: Path, tiny: Callable, train_uninterrupted: Callable
) -> None:
    """Going on from the average in silence would be another run."""
    shutil.copytree(train_uninterrupted("frozen").path, tmp_path / "copied")
    folder = RunFolder(tmp_path / "copied")
    folder.result_file.unlink()
    recipe = tiny(COMBINATIONS["frozen"] | LENGTH | COMBINATIONS["ema"])
    folder.write_recipe(recipe)
    with pytest.raises(CheckpointError):
        train(recipe, folder, resume=True)


def test_the_combinations_are_what_they_say(train_uninterrupted: Callable) -> None:
    assert train_uninterrupted("all settings").metrics.read()[0]["step"] == STEPS_PER_EPOCH
    names = load_file(train_uninterrupted("muon").weights("last.state"))
    assert any("momentum_buffer" in name for name in names)
