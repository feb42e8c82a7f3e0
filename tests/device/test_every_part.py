"""Every kind of part of a recipe on a device like a GPU, also those that no shipped recipe has."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from combined_settings import COMBINATIONS
from device_runs import WaitRecorder, find_differences, read_outcome
from mock_device import use_mock_device
from small_recipes import RUN, SETTINGS, settings
from torch import Tensor

from cifarlab.recipes.keys import keys
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.processes import Processes
from cifarlab.training.tensor_stats import TensorStats
from cifarlab.training.train import train

SHORT = {
    "data.train_subset_fraction": 0.1,
    "training.batch_size": 34,
    "training.duration": "2 epochs",
}  # 8 steps
RGB = {"data.images.channels": "rgb"}
MORE: dict[str, dict[str, Any]] = {
    **COMBINATIONS,
    "others": RGB
    | {
        "augment.policy.kind": "trivialaugment",
        "augment.fill_mode": "constant",
        "averaging.kind": "swa",
        "averaging.every": "1 step",
        "optimizer.kind": "rmsprop",
        "optimizer.lr": 0.001,
        "optimizer.decoupled_weight_decay": True,
        "schedule.kind": "onecycle",
        "loss.kind": "focal",
        "loss.class_weights": "balanced",
        "data.sampler.kind": "balanced",
    },
    "each class": {"loss.kind": "binary_cross_entropy"},
}
# what is over before training, or computed on the CPU of logits
OFF_THE_DEVICE = ("data.label_noise.kind", "metric.kind", "monitor.kind", "data.sampler.kind")


def short(tiny: Callable, way: str) -> Recipe:
    recipe: Recipe = tiny(MORE[way] | SHORT)
    return recipe


def test_every_kind_is_run(tiny: Callable) -> None:
    run = set().union(*SETTINGS.values())
    for way in MORE:
        run |= settings(short(tiny, way).model_dump(mode="json"))
    kinds = {
        (key.path, kind)
        for key in keys()
        if key.path.endswith(".kind") and not key.path.endswith(OFF_THE_DEVICE)
        for kind in key.allowed_values.split(" | ")
    }
    assert len(kinds) > 30
    assert kinds - run == set()


@pytest.mark.parametrize("way", MORE)
def test_a_way_to_train_gives_the_same_on_both_devices(
    way: str, tiny: Callable, tmp_path: Path
) -> None:
    recipe, plain, folder = short(tiny, way), RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    train(recipe, plain)
    expected = read_outcome(plain)
    with use_mock_device() as device:
        recorder = WaitRecorder(device)
        train(recipe, folder, callbacks=[recorder])
        assert not find_differences(vars(read_outcome(folder)), vars(expected))
    assert recorder.count == 8
    assert recorder.waits == []


@pytest.mark.parametrize("way", MORE)
def test_on_a_device_without_float64(way: str, tiny: Callable, tmp_path: Path) -> None:
    recipe, plain, folder = short(tiny, way), RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    train(recipe, plain)
    expected = read_outcome(plain)
    with use_mock_device(float64=False):
        train(recipe, folder, callbacks=[TensorStats()])
        assert not find_differences(vars(read_outcome(folder)), vars(expected))


def test_images_that_stay_in_the_host_s_memory(tiny: Callable, tmp_path: Path) -> None:
    recipe = short(tiny, "all settings")
    with use_mock_device() as device:
        recorder = WaitRecorder(device)
        train(recipe, RunFolder(tmp_path / "a"), callbacks=[recorder])
    with use_mock_device(free=0) as device:
        recorder = WaitRecorder(device)
        train(recipe, RunFolder(tmp_path / "b"), callbacks=[recorder])
    assert recorder.waits == []
    assert not find_differences(
        RunFolder(tmp_path / "b").metrics.read()[-1]["train"],
        RunFolder(tmp_path / "a").metrics.read()[-1]["train"],
    )


@pytest.mark.parametrize("name", ["speed/94", "asha2021/normaliser-free", "kth2024/exchanged"])
def test_in_bfloat16(name: str, tmp_path: Path) -> None:
    """The device's autocast is not the processor's: alike, not equal."""
    recipe = change(RUN[name], {"training.precision": "bfloat16"})
    train(recipe, RunFolder(tmp_path / "a"))
    with use_mock_device() as device:
        recorder = WaitRecorder(device)
        train(recipe, RunFolder(tmp_path / "b"), callbacks=[recorder])
        read_outcome(RunFolder(tmp_path / "b"))
    assert recorder.waits == []
    ours, theirs = (
        RunFolder(tmp_path / run).metrics.read()[-1]["train"]["loss"] for run in ("b", "a")
    )
    assert ours == pytest.approx(theirs, rel=0.05)


@dataclass(frozen=True)
class OneOfTwo(Processes):
    """One of two processes; of the other it takes for granted that it came to the same."""

    def all_reduce(self, tensor: Tensor) -> Tensor:
        return tensor.mul_(2)

    def all_reduce_max(self, *numbers: int) -> list[int]:
        return list(numbers)

    def broadcast_from_rank0(self, work: Callable[[], Any], *, patient: bool = False) -> Any:
        return work()

    run_in_all = broadcast_from_rank0


@pytest.mark.parametrize("way", ["ema", "all settings"])
def test_one_of_two_processes(way: str, tiny: Callable, tmp_path: Path) -> None:
    recipe = short(tiny, way)
    with use_mock_device() as device:
        recorder = WaitRecorder(device)
        train(recipe, RunFolder(tmp_path), callbacks=[recorder], processes=OneOfTwo(0, 2))
    assert recorder.count == 8
    assert recorder.waits == []
