"""Interrupted and extended runs with averages, frozen groups, Muon, selection, and all at once."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from everything import EVERYTHING, SHORT, STEPS_PER_EPOCH, WAYS
from safetensors.torch import load_file
from torch import Tensor

from cifarlab.config.duration import Duration
from cifarlab.evaluation.run_evaluation import evaluate_run
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Extension
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError, Interrupted
from cifarlab.training.extend import extend_run
from cifarlab.training.run import Run
from cifarlab.training.train import train

AVERAGED = [name for name in WAYS if "averaging.kind" in WAYS[name]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Callable) -> Callable[[str], RunFolder]:
    """A function: the uninterrupted run of a way. Read it, never write to it."""
    made: dict[str, RunFolder] = {}

    def make(way: str) -> RunFolder:
        if way not in made:
            made[way] = RunFolder(tmp_path_factory.mktemp("whole") / "run")
            train(tiny(WAYS[way] | SHORT), made[way])
        return made[way]

    return make


# in the middle of an average's cycle and at its end, in each size, and frozen
@pytest.mark.parametrize("step", [3, 8, 10, 15])
@pytest.mark.parametrize("way", WAYS)
def test_resumed_is_bit_identical(
    tmp_path: Path,
    tiny: Callable,
    whole: Callable,
    end_of: Callable,
    signal_after: Callable,
    way: str,
    step: int,
) -> None:
    folder, recipe = RunFolder(tmp_path / "run"), tiny(WAYS[way] | SHORT)
    with pytest.raises(Interrupted, match=f"after step {step} of 18"):
        train(recipe, folder, callbacks=[signal_after(step)])
    train(recipe, folder, resume=True)
    assert end_of(folder) == end_of(whole(way))


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_many_times(
    tmp_path: Path,
    tiny: Callable,
    whole: Callable,
    end_of: Callable,
    signal_after: Callable,
    way: str,
) -> None:
    folder, recipe = RunFolder(tmp_path / "run"), tiny(WAYS[way] | SHORT)
    for step in (1, 2, 5, 9, 11, 12, 14, 18):
        with pytest.raises(Interrupted):
            train(recipe, folder, resume=folder.exists, callbacks=[signal_after(step)])
    train(recipe, folder, resume=True)
    assert end_of(folder) == end_of(whole(way))


@pytest.mark.parametrize("way", [*AVERAGED, "frozen"])
def test_extended_equals_planned_that_long(
    tmp_path: Path, tiny: Callable, whole: Callable, end_of: Callable, way: str
) -> None:
    longer = Extension(duration=Duration.parse("8 steps"), schedule="restart")
    shutil.copytree(whole(way).path, tmp_path / "copied")
    recipe, folder = extend_run(RunFolder(tmp_path / "copied"), longer)
    train(recipe, folder, resume=True)
    scratch = RunFolder(tmp_path / "scratch")
    added = [longer.model_dump(mode="json")]
    train(tiny(WAYS[way] | SHORT | {"training.extensions": added}), scratch)
    assert end_of(folder) == end_of(scratch)
    assert folder.result()["steps"] == 26


def test_the_seed_decides(
    tmp_path: Path, tiny: Callable, whole: Callable, end_of: Callable
) -> None:
    ends = []
    for seed in (0, 1):
        folder = RunFolder(tmp_path / str(seed))
        train(tiny(EVERYTHING | SHORT | {"seed": seed}), folder)
        ends.append(end_of(folder))
    assert ends[0] == end_of(whole("everything"))
    assert all(ends[0][key] != ends[1][key] for key in ends[0])


class Fast:
    """A callback that copies the weights that training goes on with, after each step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_start(self, run: Run) -> None: ...

    def on_step_end(self, run: Run, images: int) -> None:
        tensors = run.state.classifier.state_dict()
        self.weights.append({name: t.clone() for name, t in tensors.items()})

    def on_validation_end(self, run: Run) -> None: ...

    def on_epoch_end(self, run: Run, line: dict[str, Any]) -> None: ...

    def on_train_end(self, run: Run, result: dict[str, Any]) -> None: ...


def of_training(folder: RunFolder) -> dict[str, Tensor]:
    """The weights in the state file, which training goes on with."""
    tensors = load_file(folder.weights("last.state"))
    named = {name.partition("trained.")[2]: t for name, t in tensors.items()}
    return {name: t for name, t in named.items() if name}


def test_ema_is_judged_and_kept_while_training_goes_on_without(
    tmp_path: Path, tiny: Callable, whole: Callable
) -> None:
    fast, folder = Fast(), RunFolder(tmp_path / "plain")
    train(tiny(SHORT), folder, callbacks=[fast])
    slow = {name: t.double() for name, t in fast.weights[1].items()}  # a copy up to the first two
    for step in range(3, 18, 2):
        slow = {name: 0.8 * slow[name] + 0.2 * t.double() for name, t in fast.weights[step].items()}
    ema = whole("ema")
    _, kept = WeightsFile.read(ema.weights("last"))
    for name, value in kept.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), slow[name], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(t, fast.weights[-1][name]) for name, t in of_training(ema).items())
    assert ema.result()["val"] != folder.result()["val"]
    plain, averaged = (f.metrics.read() for f in (folder, ema))
    assert [line["train"] for line in plain] == [line["train"] for line in averaged]
    assert all(a["val"] != b["val"] for a, b in zip(plain, averaged, strict=True))


def test_lookahead_sets_the_weights_of_training_back_to_the_kept_ones(
    tmp_path: Path, tiny: Callable, signal_after: Callable
) -> None:
    same = []
    for step in (3, 4, 5, 8):
        folder = RunFolder(tmp_path / str(step))
        with pytest.raises(Interrupted):
            train(tiny(WAYS["lookahead"] | SHORT), folder, callbacks=[signal_after(step)])
        _, kept = WeightsFile.read(folder.weights("last"))
        trained = of_training(folder)
        assert kept.keys() == trained.keys()
        same.append(all(torch.equal(t, trained[name]) for name, t in kept.items()))
    assert same == [
        True,
        True,
        False,
        True,
    ]  # before the first update, at step 4, nothing else is kept


def test_without_averaging_no_weights_are_kept_twice(whole: Callable) -> None:
    assert of_training(whole("frozen")) == {}


@pytest.mark.parametrize("way", AVERAGED)
@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluating_the_checkpoint_gives_the_result(
    tmp_path: Path, whole: Callable, way: str, split: str
) -> None:
    shutil.copytree(whole(way).path, tmp_path / "copied")  # an opening is written down
    folder = RunFolder(tmp_path / "copied")
    assert evaluate_run(folder, split)[0] == folder.result()[split]


def test_a_state_without_the_weights_of_training_is_refused(
    tmp_path: Path, tiny: Callable, whole: Callable
) -> None:
    """Going on from the average in silence would be another run."""
    shutil.copytree(whole("frozen").path, tmp_path / "copied")
    folder = RunFolder(tmp_path / "copied")
    folder.result_file.unlink()
    recipe = tiny(WAYS["frozen"] | SHORT | WAYS["ema"])
    folder.write_recipe(recipe)
    with pytest.raises(CheckpointError):
        train(recipe, folder, resume=True)


def test_the_ways_are_what_they_say(whole: Callable) -> None:
    assert whole("everything").metrics.read()[0]["step"] == STEPS_PER_EPOCH
    names = load_file(whole("muon").weights("last.state"))
    assert any("momentum_buffer" in name for name in names)
