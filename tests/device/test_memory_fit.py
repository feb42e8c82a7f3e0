"""A run that a GPU has no memory for is told before its first step, with what would fit."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from device_runs import WaitRecorder, find_differences, read_outcome
from mock_device import use_mock_device
from mock_tensor import Memory
from torch import Tensor

from cifarlab.inference import predictor
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, OutOfMemoryError, RecipeError
from cifarlab.system.processes import Processes
from cifarlab.training.forecast import forecast
from cifarlab.training.memory_fit import find_micro_batches
from cifarlab.training.setup import prepare
from cifarlab.training.train import train

PLAIN_CNN = {
    "model.kind": "cnn",
    "model.channels": [16, 16],
    "model.hidden_features": 16,
    "model.dropout": [0.0, 0.0, 0.0],
    "optimizer.lr": 0.02,
}
SHORT = {"data.train_subset_fraction": 0.2, "training.duration": "1 epoch"}
AUTO = {"training.micro_batch_size": "auto"}
ENOUGH = 2**40


@pytest.fixture(autouse=True)
def _few_images_are_predicted_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "GPU_BATCH", 20)


@pytest.fixture
def recipe(tiny: Callable) -> Recipe:
    """Three steps of 87 and 86 images, in a network without statistics of the batch."""
    plain: Recipe = tiny({**PLAIN_CNN, **SHORT})
    return plain


def needed_bytes(recipe: Recipe, path: Path, free: int = 0) -> int:
    """What a run takes; its images only where that is ``free``."""
    memory = Memory(ENOUGH)
    with use_mock_device(memory=memory, free=free):
        train(recipe, RunFolder(path), callbacks=[])
    return memory.peak


def train_within(limit: int, recipe: Recipe, folder: RunFolder, *callbacks: Any) -> WaitRecorder:
    with use_mock_device(memory=Memory(limit)) as device:
        recorder = WaitRecorder(device)
        train(recipe, folder, callbacks=[recorder, *callbacks])
    return recorder


def test_the_mock_device_counts_what_is_alive() -> None:
    import torch

    memory = Memory(1000)
    with use_mock_device(memory=memory):
        x = torch.zeros(100, device="mock")
        views = x[:50], x.view(10, 10)
        assert memory.used == 400
        y = x + 1
        with pytest.raises(torch.OutOfMemoryError):
            x * y
        assert memory.used == 800
        del x, views
        assert (memory.used, memory.peak) == (400, 800)


def test_automatic_micro_batches_are_the_largest_halves_that_fit(
    recipe: Recipe, tmp_path: Path
) -> None:
    halves, automatic = change(recipe, {"training.micro_batch_size": 44}), change(recipe, AUTO)
    all_at_once, half = (
        needed_bytes(each, tmp_path / name) for each, name in ((recipe, "a"), (halves, "b"))
    )
    assert half < 0.8 * all_at_once  # else the limits below say nothing
    for limit, size in ((ENOUGH, None), (all_at_once - 1, 44), (half - 1, 22)):
        folder = RunFolder(tmp_path / f"limit {limit}")
        recorder = train_within(limit, automatic, folder)
        assert recorder.waits == [] and recorder.count == 3
        assert folder.provenance()["micro_batch_size"] == size
        notes = " ".join(folder.result()["notes"])  # type: ignore[index]
        assert (f"at most {size} images at a time" in notes) == bool(size)
        plain = RunFolder(tmp_path / f"plain {limit}")
        train(change(recipe, {"training.micro_batch_size": size}), plain, callbacks=[])
        with use_mock_device():
            actual = read_outcome(folder).metrics
        assert not find_differences(actual, read_outcome(plain).metrics)


def interrupt_within(limit: int, recipe: Recipe, folder: RunFolder, interrupt: Any) -> None:
    with pytest.raises(Interrupted):
        train_within(limit, recipe, folder, interrupt)


def resume_within(limit: int, recipe: Recipe, folder: RunFolder) -> None:
    with use_mock_device(memory=Memory(limit)):
        train(recipe, folder, resume=True, callbacks=[])


def test_a_run_that_goes_on_keeps_its_micro_batches(
    recipe: Recipe, tmp_path: Path, signal_after: Callable
) -> None:
    automatic, folder = change(recipe, AUTO), RunFolder(tmp_path / "run")
    limit = needed_bytes(recipe, tmp_path / "a") - 1
    interrupt_within(limit, automatic, folder, signal_after(1))
    assert folder.provenance()["micro_batch_size"] == 44
    resume_within(ENOUGH, automatic, folder)
    assert "at most 44 images" in " ".join(folder.result()["notes"])  # type: ignore[index]
    assert folder.provenance()["micro_batch_size"] == 44


@pytest.mark.parametrize(("begun_with", "then"), [(None, 44), (44, 22)])
def test_a_smaller_gpu_refuses_a_run_that_goes_on_before_its_next_step(
    begun_with: int | None, then: int, recipe: Recipe, tmp_path: Path, signal_after: Callable
) -> None:
    automatic, folder = change(recipe, AUTO), RunFolder(tmp_path / "run")
    limits = {
        size: needed_bytes(
            change(recipe, {"training.micro_batch_size": size}), tmp_path / f"{size}"
        )
        for size in (begun_with, then)
    }
    interrupt_within(limits[begun_with], automatic, folder, signal_after(1))
    before = folder.weights("last").read_bytes()
    message = f"a pass over {begun_with or 87} images, as the run began with"
    with pytest.raises(OutOfMemoryError, match=message) as error:
        resume_within(limits[then], automatic, folder)
    assert "CIFARLAB_DEVICE" in error.value.hint
    assert folder.weights("last").read_bytes() == before
    train(automatic, folder, resume=True, callbacks=[])  # the processor has room


def test_a_run_that_was_begun_on_a_cpu_gets_its_micro_batches_on_the_gpu(
    recipe: Recipe, tmp_path: Path, signal_after: Callable
) -> None:
    automatic, folder = change(recipe, AUTO), RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(automatic, folder, callbacks=[signal_after(1)])
    assert "micro_batch_size" not in folder.provenance()
    halves = change(recipe, {"training.micro_batch_size": 44})
    resume_within(needed_bytes(halves, tmp_path / "a"), automatic, folder)
    assert folder.provenance()["micro_batch_size"] == 44


@pytest.mark.parametrize(
    ("model", "note"), [("cnn", "but for rounding, and 'auto'"), ("resnet", "changes the result")]
)
def test_a_run_that_does_not_fit_is_refused_before_its_first_step(
    model: str, note: str, recipe: Recipe, tiny: Callable, tmp_path: Path
) -> None:
    recipe = recipe if model == "cnn" else tiny(SHORT)  # with batch normalisation
    limit, folder = needed_bytes(recipe, tmp_path / "a") - 1, RunFolder(tmp_path / "run")
    with pytest.raises(OutOfMemoryError, match="a pass over 87 images needs more than") as error:
        train_within(limit, recipe, folder)
    assert note in error.value.hint
    assert not folder.metrics.read() and not folder.weights("last").exists()
    size = int(re.findall(r"training\.micro_batch_size=(\d+) fits", error.value.hint)[0])
    train_within(
        limit, change(recipe, {"training.micro_batch_size": size}), RunFolder(tmp_path / "b")
    )
    with use_mock_device(memory=Memory(limit)), pytest.raises(OutOfMemoryError, match="87 images"):
        forecast(recipe, 0.1)


def test_the_images_make_room_first(recipe: Recipe, tmp_path: Path) -> None:
    limit = needed_bytes(recipe, tmp_path / "a", free=ENOUGH) - 1
    folder, plain = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "plain")
    recorder = train_within(limit, recipe, folder)
    train(recipe, plain, callbacks=[])
    assert recorder.waits == []
    assert any("read from the host's memory" in n for n in folder.result()["notes"])  # type: ignore[index]
    with use_mock_device():
        assert not find_differences(read_outcome(folder).metrics, read_outcome(plain).metrics)


def test_the_images_make_room_for_a_prediction(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "GPU_BATCH", 2000)  # all 359 test images at a time
    recipe = change(recipe, {"training.micro_batch_size": 10})  # so that these take the most
    limit = needed_bytes(recipe, tmp_path / "a", free=ENOUGH) - 1
    assert limit > needed_bytes(recipe, tmp_path / "b")
    folder = RunFolder(tmp_path / "run")
    train_within(limit, recipe, folder)
    assert any("read from the host's memory" in n for n in folder.result()["notes"])  # type: ignore[index]


@dataclass(frozen=True)
class OtherHasImages(Processes):
    """The first of two processes, which fits; the other first has images on its GPU, and does not.

    ``calls`` has what this process gave at each all-reduce.
    """

    rank: int = 0
    world_size: int = 2
    calls: list[int] = field(default_factory=list)

    def all_reduce_max(self, *numbers: int) -> list[int]:
        self.calls.extend(numbers)
        # of predictions; of gradients, then whether there were images, then gradients again
        return [max(numbers[0], (0, 1, 1, 0)[len(self.calls) - 1])]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        return tensor


def test_all_processes_try_again_where_the_images_of_one_make_room(
    recipe: Recipe, tmp_path: Path
) -> None:
    processes = OtherHasImages()
    with use_mock_device(free=0):
        run = prepare(recipe, RunFolder(tmp_path / "a"))
        run.processes = processes
        find_micro_batches(run)
    assert processes.calls == [0, 0, 0, 0]
    assert run.plan.micro_batch_size is None


def test_micro_batches_of_the_recipe_may_be_too_large(recipe: Recipe, tmp_path: Path) -> None:
    recipe = change(recipe, {"training.micro_batch_size": 44})
    limit = needed_bytes(recipe, tmp_path / "a") - 1
    with pytest.raises(OutOfMemoryError, match="a pass over 44 images") as error:
        train_within(limit, recipe, RunFolder(tmp_path / "b"))
    assert "training.micro_batch_size=22 fits" in error.value.hint


def test_a_network_may_be_too_large(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = change(recipe, {"model.hidden_features": 50_000})
    copies = 5 * 50_000 * (64 + 10) * 4  # weights, gradients, the optimizer's and a copy
    with pytest.raises(OutOfMemoryError, match="87 images") as error:
        train_within(copies, wide, RunFolder(tmp_path / "a"))
    assert error.value.hint == "nor do two images at a time: take a smaller network"
    limit = needed_bytes(recipe, tmp_path / "b")
    monkeypatch.setattr(predictor, "GPU_BATCH", 2000)
    with pytest.raises(OutOfMemoryError, match="a prediction needs more"):
        train_within(limit, recipe, RunFolder(tmp_path / "c"))


def test_batch_statistics_forbid_automatic_micro_batches(tiny: Callable, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"auto: \w*BatchNorm2d sees one micro-batch"):
        train(tiny(AUTO), RunFolder(tmp_path / "a"))


def test_on_a_cpu_a_batch_stays_whole(recipe: Recipe, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a")
    train(change(recipe, AUTO), folder, callbacks=[])
    assert "micro_batch_size" not in folder.provenance()
    assert "images at a time" not in " ".join(folder.result()["notes"])  # type: ignore[index]
