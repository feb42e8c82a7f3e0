"""Selection of examples: the hardest by a slow hand-written version, judged without a trace."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from prepared import Watching, first_batch, prepared
from torch import Tensor

from cifarlab.augment.transforms import downsample
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RecipeError
from cifarlab.training.run import Run
from cifarlab.training.state import Totals
from cifarlab.training.step import select_hard_examples
from cifarlab.training.train import train

DROPOUT = {"model.dropout": 0.5}


def hardest(run: Run, images: Tensor, labels: Tensor, share: float) -> list[int]:
    """Places of the images with the largest losses, one image at a time."""
    network = copy.deepcopy(run.state.classifier).eval()
    losses = []
    for image, label in zip(images, labels, strict=True):
        scores = [math.exp(v) for v in network(image[None])[0].double().tolist()]
        losses.append(-math.log(scores[int(label)] / sum(scores)))
    by_loss = sorted(range(len(losses)), key=lambda place: -losses[place])
    return sorted(by_loss[: max(2, round(share * len(losses)))])


def moved(run: Run) -> None:
    """Running statistics that differ from those of any batch."""
    with torch.no_grad():
        for name, buffer in run.state.classifier.named_buffers():
            if "running" in name:
                buffer.add_(torch.linspace(0, 0.5, len(buffer)))


@pytest.mark.parametrize(
    ("share", "images"), [(0.25, 118), (0.5, 27), (0.33, 40), (0.1, 5), (0.7, 3)]
)
@pytest.mark.parametrize("more", [{}, {"training.micro_batch_size": 7}], ids=["whole", "in pieces"])
def test_exactly_the_hardest(
    tmp_path: Path, tiny: Callable, share: float, images: int, more: dict[str, Any]
) -> None:
    run = prepared(
        tiny({**DROPOUT, **more, "training.selective_backprop.keep": share}), tmp_path / "run"
    )
    moved(run)
    batch = first_batch(run, images)
    kept = hardest(run, batch.images, batch.labels, share)
    assert 2 <= len(kept) < images
    chosen = select_hard_examples(run, batch)
    assert torch.equal(chosen.images, batch.images[kept])
    assert torch.equal(chosen.labels, batch.labels[kept])


def test_judged_at_another_size_but_trained_at_the_present_one(
    tmp_path: Path, tiny: Callable
) -> None:
    part = {"keep": 0.25, "image_size": 5}
    run = prepared(tiny({"training.selective_backprop": part}), tmp_path / "run")
    moved(run)
    batch = first_batch(run)
    small = hardest(run, downsample(batch.images, 5), batch.labels, 0.25)
    assert small != hardest(run, batch.images, batch.labels, 0.25)
    chosen = select_hard_examples(run, batch)
    assert torch.equal(chosen.images, batch.images[small])


@pytest.mark.parametrize(("start", "first"), [("5 steps", 5), ("1 epoch", 11), ("0 epochs", 0)])
def test_before_its_start_all_is_trained_on(
    tmp_path: Path, tiny: Callable, start: str, first: int
) -> None:
    changes = {"training.selective_backprop.keep": 0.5, "training.selective_backprop.start": start}
    run = prepared(tiny(changes), tmp_path / "run")
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
        prepared(tiny({"training.selective_backprop": part}), tmp_path / "run")


def test_judging_leaves_no_trace(tmp_path: Path, tiny: Callable) -> None:
    part = {
        "training.selective_backprop": {"keep": 0.25, "image_size": 5},
        "training.micro_batch_size": 50,
    }
    run = prepared(tiny({**DROPOUT, **part}), tmp_path / "run")
    before = copy.deepcopy(run.state.classifier.state_dict())
    draws, batch = torch.get_rng_state(), first_batch(run)
    pixels = batch.images.clone()
    chosen = select_hard_examples(run, batch)
    after = run.state.classifier.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), draws)
    assert torch.equal(batch.images, pixels)
    assert all(module.training for module in run.state.classifier.modules())
    assert all(p.grad is None for p in run.state.classifier.parameters())
    assert not chosen.images.requires_grad


class Drawn(Watching):
    """How many images each step had, as callbacks are told."""

    def __init__(self) -> None:
        self.images: list[int] = []

    def on_step_end(self, run: Run, images: int) -> None:
        self.images.append(images)


def test_sums_count_what_is_trained_and_the_speed_what_is_drawn(
    tmp_path: Path, tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    real = Totals.add

    def watched(self: Totals, loss: Tensor, correct: Tensor, images: int, step: int) -> None:
        trained.append(images)
        assert 0 <= int(correct) <= images
        real(self, loss, correct, images, step)

    monkeypatch.setattr(Totals, "add", watched)
    folder, drawn = RunFolder(tmp_path / "run"), Drawn()
    changes = {"training.selective_backprop.keep": 0.3, "training.duration": "1 epoch"}
    train(tiny(changes), folder, callbacks=[drawn])
    assert drawn.images == [118] * 7 + [117] * 4
    assert trained == [35] * 11
    (line,) = folder.metrics.read()
    hits = line["train"]["accuracy"] * sum(trained)
    assert hits == pytest.approx(round(hits), abs=1e-6)
    cost = line["cost"]
    assert cost["images_per_second"] * cost["train_seconds"] == pytest.approx(1294)
