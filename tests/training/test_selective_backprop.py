"""Selection of examples: the hardest by a slow hand-written version, judged without a trace."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import first_batch, prepare_run
from torch import Tensor

from cifarlab.augment.transforms import downsample
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RecipeError
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.state import Totals
from cifarlab.training.step import select_hard_examples
from cifarlab.training.train import train

DROPOUT = {"model.dropout": 0.5}


def hardest(run: Run, images: Tensor, labels: Tensor, keep: float) -> list[int]:
    """Indices of the images with the largest losses, one image at a time."""
    network = copy.deepcopy(run.state.classifier).eval()
    losses = []
    for image, label in zip(images, labels, strict=True):
        scores = [math.exp(v) for v in network(image[None])[0].double().tolist()]
        losses.append(-math.log(scores[int(label)] / sum(scores)))
    by_loss = sorted(range(len(losses)), key=lambda i: -losses[i])
    return sorted(by_loss[: max(2, round(keep * len(losses)))])


def move_running_statistics(run: Run) -> None:
    """Make the running statistics differ from those of any batch."""
    with torch.no_grad():
        for name, buffer in run.state.classifier.named_buffers():
            if "running" in name:
                buffer.add_(torch.linspace(0, 0.5, len(buffer)))


@pytest.mark.parametrize(
    ("keep", "images"), [(0.25, 118), (0.5, 27), (0.33, 40), (0.1, 5), (0.7, 3)]
)
@pytest.mark.parametrize(
    "more", [{}, {"training.micro_batch_size": 7}], ids=["whole", "in micro-batches"]
)
def test_exactly_the_hardest(
    tmp_path: Path, tiny: Callable, keep: float, images: int, more: dict[str, Any]
) -> None:
    run = prepare_run(
        tiny({**DROPOUT, **more, "training.selective_backprop.keep": keep}), tmp_path / "run"
    )
    move_running_statistics(run)
    batch = first_batch(run, images)
    expected = hardest(run, batch.images, batch.labels, keep)
    assert 2 <= len(expected) < images
    selection = select_hard_examples(run, batch)
    assert torch.equal(selection.images, batch.images[expected])
    assert torch.equal(selection.labels, batch.labels[expected])


def test_judged_at_another_size_but_trained_at_the_present_one(
    tmp_path: Path, tiny: Callable
) -> None:
    part = {"keep": 0.25, "image_size": 5}
    run = prepare_run(tiny({"training.selective_backprop": part}), tmp_path / "run")
    move_running_statistics(run)
    batch = first_batch(run)
    expected = hardest(run, downsample(batch.images, 5), batch.labels, 0.25)
    assert expected != hardest(run, batch.images, batch.labels, 0.25)
    selection = select_hard_examples(run, batch)
    assert torch.equal(selection.images, batch.images[expected])


@pytest.mark.parametrize(("start", "first"), [("5 steps", 5), ("1 epoch", 11), ("0 epochs", 0)])
def test_before_its_start_all_is_trained_on(
    tmp_path: Path, tiny: Callable, start: str, first: int
) -> None:
    changes = {"training.selective_backprop.keep": 0.5, "training.selective_backprop.start": start}
    run = prepare_run(tiny(changes), tmp_path / "run")
    batch, counts = first_batch(run), []
    for run.state.step in range(first + 2):
        counts.append(len(select_hard_examples(run, batch).labels))
    assert counts == [118] * first + [59, 59]


@pytest.mark.parametrize("pixels", [8, 9])
def test_a_size_that_makes_nothing_smaller_is_refused(
    tmp_path: Path, tiny: Callable, pixels: int
) -> None:
    part = {"keep": 0.25, "image_size": pixels}
    with pytest.raises(
        RecipeError, match=f"image_size={pixels} makes no image of 8 pixels smaller"
    ):
        prepare_run(tiny({"training.selective_backprop": part}), tmp_path / "run")


def test_judging_leaves_no_trace(tmp_path: Path, tiny: Callable) -> None:
    part = {
        "training.selective_backprop": {"keep": 0.25, "image_size": 5},
        "training.micro_batch_size": 50,
    }
    run = prepare_run(tiny({**DROPOUT, **part}), tmp_path / "run")
    before = copy.deepcopy(run.state.classifier.state_dict())
    draws, batch = torch.get_rng_state(), first_batch(run)
    pixels = batch.images.clone()
    selection = select_hard_examples(run, batch)
    after = run.state.classifier.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), draws)
    assert torch.equal(batch.images, pixels)
    assert all(module.training for module in run.state.classifier.modules())
    assert all(p.grad is None for p in run.state.classifier.parameters())
    assert not selection.images.requires_grad


class StepSizes(Callback):
    """How many images each step had, as callbacks get it."""

    def __init__(self) -> None:
        self.images: list[int] = []

    def on_step_end(self, run: Run, images: int) -> None:
        self.images.append(images)


def test_sums_count_trained_images_and_the_speed_drawn_ones(
    tmp_path: Path, tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = Totals.add

    def add(self: Totals, loss: Tensor, correct: Tensor, images: int, step: int) -> None:
        sizes.append(images)
        assert 0 <= int(correct) <= images
        real(self, loss, correct, images, step)

    monkeypatch.setattr(Totals, "add", add)
    folder, callback = RunFolder(tmp_path / "run"), StepSizes()
    changes = {"training.selective_backprop.keep": 0.3, "training.duration": "1 epoch"}
    train(tiny(changes), folder, callbacks=[callback])
    assert callback.images == [118] * 7 + [117] * 4
    assert sizes == [35] * 11
    (line,) = folder.metrics.read()
    n_correct = line["train"]["accuracy"] * sum(sizes)
    assert n_correct == pytest.approx(round(n_correct), abs=1e-6)
    cost = line["cost"]
    assert cost["images_per_second"] * cost["train_seconds"] == pytest.approx(1294)
