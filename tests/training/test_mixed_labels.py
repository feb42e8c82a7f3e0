"""The loss of mixed labels: the papers' equations, in micro-batches, selected, at another size."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import PLAIN_CNN, clone_gradients, first_batch, prepare_run
from torch import Tensor

from cifarlab.data.loader import Batch
from cifarlab.losses.kinds import CrossEntropy
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.step import backward, mixed_loss, resize, select_hard_examples, step
from cifarlab.training.train import train

BOTH_KINDS = pytest.mark.parametrize("kind", ["mixup", "cutmix"])


def slow_loss(logits: Tensor, target: list[float]) -> float:
    """-sum_k t_k log softmax(z)_k of one image, in Python's floats."""
    total = math.log(sum(math.exp(z) for z in logits.tolist()))
    return -sum(t * (z - total) for t, z in zip(target, logits.tolist(), strict=True))


def slow_target(
    label: int, partner_label: int, lam: float, smoothing: float, classes: int
) -> list[float]:
    """y = lambda y_i + (1 - lambda) y_j, of which ``smoothing`` is spread over all classes."""
    target = [smoothing / classes] * classes
    target[label] += (1 - smoothing) * lam
    target[partner_label] += (1 - smoothing) * (1 - lam)
    return target


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 0.9])
def test_the_loss_is_the_cross_entropy_with_the_mixed_label(lam: float, smoothing: float) -> None:
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=draws, dtype=torch.float64)
    labels, others = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 0, 2, 3, 0])
    batch = Batch(torch.zeros(6, 1, 1, 1), labels, others, lam)
    targets = [
        slow_target(int(a), int(b), lam, smoothing, 4) for a, b in zip(labels, others, strict=True)
    ]
    expected = [slow_loss(z, target) for z, target in zip(logits, targets, strict=True)]
    loss = CrossEntropy(label_smoothing=smoothing).build([], [])
    got = mixed_loss(loss, logits, batch)
    assert got.tolist() == pytest.approx(expected, rel=1e-12)
    assert mixed_loss(loss.mean, logits, batch).item() == pytest.approx(sum(expected) / 6)


def test_a_part_of_a_batch_keeps_what_belongs_together() -> None:
    images = torch.arange(7).reshape(7, 1, 1, 1)
    batch = Batch(images, torch.arange(7) * 10, torch.arange(7) * 100, 0.3)
    for part in (batch.select(torch.tensor([5, 2])), batch.select(slice(2, 5))):
        assert part.partner_labels is not None
        assert torch.equal(part.labels, part.images.flatten() * 10)
        assert torch.equal(part.partner_labels, part.images.flatten() * 100)
        assert part.lam == 0.3
        assert part.global_size == len(part.labels) == len(part.images)
    unmixed = batch._replace(partner_labels=None)
    assert {
        unmixed.select(indices).partner_labels for indices in (torch.tensor([1]), slice(1, 3))
    } == {None}


@BOTH_KINDS
def test_the_loader_s_labels_are_those_of_the_images_mixed(
    tmp_path: Path, tiny: Callable, kind: str
) -> None:
    """Each image's partner is found again from its pixels and the batch without mixing."""
    alone = {"augment.hflip": "none", "augment.crop.padding": 0, "training.batch_size": 40}
    unmixed = first_batch(prepare_run(tiny(alone), tmp_path / "unmixed"), 40)
    run = prepare_run(tiny({**alone, "augment.mix.kind": kind}), tmp_path / "mixed")
    for batch in run.loader.epoch(0, 0, 1):
        assert torch.equal(batch.labels, unmixed.labels)
        assert batch.partner_labels is not None and 0 < batch.lam < 1
        for mixed, image, label in zip(
            batch.images, unmixed.images, batch.partner_labels, strict=True
        ):
            rest = mixed.float() - batch.lam * image.float()
            if kind == "mixup":
                gaps = (rest - (1 - batch.lam) * unmixed.images.float()).abs().amax((1, 2, 3))
                partner = int(gaps.argmin())
                assert gaps[partner] < 1e-3
            else:
                box = (mixed != image).any(2)
                gaps = (mixed != unmixed.images).any(3)[:, box].sum(1)
                partner = int(gaps.argmin())
                assert gaps[partner] == 0
                if gaps.eq(0).sum() > 1:  # too few pixels to tell the partner
                    continue
            assert label == unmixed.labels[partner]


@BOTH_KINDS
@pytest.mark.parametrize("micro_batch", [4, 5])
def test_micro_batches_give_the_whole_batch_s_gradient(
    tmp_path: Path, tiny: Callable, kind: str, micro_batch: int
) -> None:
    changes = {**PLAIN_CNN, "augment.mix.kind": kind, "loss.label_smoothing": 0.1}
    runs = [
        prepare_run(tiny({**changes, "training.micro_batch_size": size}), tmp_path / str(size))
        for size in (micro_batch, None)
    ]
    batches = [first_batch(run, 13) for run in runs]
    assert torch.equal(batches[0].images, batches[1].images)
    assert batches[0].lam == batches[1].lam < 1
    outcomes = [backward(run, batch) for run, batch in zip(runs, batches, strict=True)]
    torch.testing.assert_close(outcomes[0][0], outcomes[1][0], rtol=1e-6, atol=0)
    assert outcomes[0][1] == outcomes[1][1]
    torch.testing.assert_close(
        clone_gradients(runs[0]), clone_gradients(runs[1]), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("lam", [0.2, 0.5, 0.7])
def test_predictions_are_counted_against_the_label_of_larger_lam(
    tmp_path: Path, tiny: Callable, lam: float
) -> None:
    run = prepare_run(tiny({**PLAIN_CNN}), tmp_path / "run")
    batch = first_batch(run, 20)
    mixed = batch._replace(partner_labels=batch.labels.roll(1), lam=lam)
    predicted = run.network(batch.images).argmax(1)
    # so that both ways of counting differ
    mixed = mixed._replace(
        partner_labels=torch.where(torch.arange(20) < 15, predicted, mixed.partner_labels)
    )
    expected = mixed.labels if lam >= 0.5 else mixed.partner_labels
    _, correct = backward(run, mixed)
    assert int(correct) == int((predicted == expected).sum())
    assert (predicted == mixed.partner_labels).sum() >= 15 > (predicted == mixed.labels).sum()


@BOTH_KINDS
def test_examples_are_selected_by_their_mixed_loss(
    tmp_path: Path, tiny: Callable, kind: str
) -> None:
    changes = {**PLAIN_CNN, "augment.mix.kind": kind, "training.selective_backprop.keep": 0.25}
    run = prepare_run(tiny(changes), tmp_path / "run")
    batch = first_batch(run)
    assert batch.partner_labels is not None
    losses = []
    with torch.no_grad():
        logits = run.state.classifier.eval()(batch.images).double()
    for z, label, partner in zip(logits, batch.labels, batch.partner_labels, strict=True):
        target = slow_target(int(label), int(partner), batch.lam, 0.0, logits.shape[1])
        losses.append(slow_loss(z, target))
    order = sorted(range(len(losses)), key=lambda i: -losses[i])
    hardest = sorted(order[: round(0.25 * len(losses))])
    selection = select_hard_examples(run, batch)
    assert torch.equal(selection.images, batch.images[hardest])
    assert torch.equal(selection.labels, batch.labels[hardest])
    assert selection.partner_labels is not None and torch.equal(
        selection.partner_labels, batch.partner_labels[hardest]
    )
    assert selection.lam == batch.lam


@BOTH_KINDS
def test_a_smaller_size_keeps_the_labels(tmp_path: Path, tiny: Callable, kind: str) -> None:
    sizes = [{"start": "0 steps", "pixels": 5}]
    run = prepare_run(
        tiny({"augment.mix.kind": kind, "augment.progressive_resize": sizes}), tmp_path / "run"
    )
    batch = first_batch(run)
    resized = resize(run, batch, 0)
    assert resized.images.shape[1:3] == (5, 5)
    assert resized[1:] == batch[1:]
    before = {name: t.clone() for name, t in run.state.classifier.state_dict().items()}
    step(run, batch)
    after = run.state.classifier.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before)


class PixelSums(Callback):
    """Sums of the pixels of each training pass."""

    def __init__(self) -> None:
        self.sums: list[float] = []

    def on_train_start(self, run: Run) -> None:
        def look(classifier: Any, inputs: Any) -> None:
            if classifier.training:
                self.sums.append(inputs[0].double().sum().item())

        run.state.classifier.register_forward_pre_hook(look)


@BOTH_KINDS
def test_a_resumed_run_trains_on_the_same_mixtures(
    tmp_path: Path, tiny: Callable, end_of: Callable, signal_after: Callable, kind: str
) -> None:
    recipe = tiny({"augment.mix": {"kind": kind, "prob": 0.7}})
    uninterrupted, resumed = PixelSums(), PixelSums()
    train(recipe, RunFolder(tmp_path / "uninterrupted"), callbacks=[uninterrupted])
    folder = RunFolder(tmp_path / "resumed")
    with pytest.raises(Interrupted):
        train(recipe, folder, callbacks=[resumed, signal_after(14)])
    train(recipe, folder, resume=True, callbacks=[resumed])
    assert resumed.sums == uninterrupted.sums
    assert end_of(folder) == end_of(RunFolder(tmp_path / "uninterrupted"))
