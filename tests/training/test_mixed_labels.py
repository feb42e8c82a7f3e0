"""The loss of mixed labels: the papers' equations, in pieces, selected, at another size."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from prepared import PLAIN, Watching, first_batch, gradients, prepared
from torch import Tensor

from cifarlab.data.loader import Batch
from cifarlab.losses.kinds import CrossEntropy
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training.run import Run
from cifarlab.training.step import backward, mixed_loss, resize, select_hard_examples, step
from cifarlab.training.train import train

BOTH = pytest.mark.parametrize("kind", ["mixup", "cutmix"])


def slow_loss(logits: Tensor, target: list[float]) -> float:
    """-sum_k t_k log softmax(z)_k of one image, in Python's floats."""
    total = math.log(sum(math.exp(z) for z in logits.tolist()))
    return -sum(t * (z - total) for t, z in zip(target, logits.tolist(), strict=True))


def slow_target(own: int, other: int, share: float, smoothing: float, classes: int) -> list[float]:
    """y = lambda y_i + (1 - lambda) y_j, of which ``smoothing`` is spread over all classes."""
    target = [smoothing / classes] * classes
    target[own] += (1 - smoothing) * share
    target[other] += (1 - smoothing) * (1 - share)
    return target


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_the_loss_is_the_cross_entropy_with_the_mixed_label(share: float, smoothing: float) -> None:
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=draws, dtype=torch.float64)
    labels, others = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 0, 2, 3, 0])
    batch = Batch(torch.zeros(6, 1, 1, 1), labels, others, share)
    targets = [
        slow_target(int(a), int(b), share, smoothing, 4)
        for a, b in zip(labels, others, strict=True)
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
    plain = batch._replace(partner_labels=None)
    assert {plain.select(places).partner_labels for places in (torch.tensor([1]), slice(1, 3))} == {
        None
    }


@BOTH
def test_the_loader_s_labels_are_those_of_the_images_mixed(
    tmp_path: Path, tiny: Callable, kind: str
) -> None:
    """Each image's partner is found again from its pixels and the batch without mixing."""
    alone = {"augment.hflip": "none", "augment.crop.padding": 0, "training.batch_size": 40}
    plain = first_batch(prepared(tiny(alone), tmp_path / "plain"), 40)
    run = prepared(tiny({**alone, "augment.mix.kind": kind}), tmp_path / "mixed")
    for place, batch in enumerate(run.loader.epoch(0, 0, 1)):
        assert place == 0
        assert torch.equal(batch.labels, plain.labels)
        assert batch.partner_labels is not None and 0 < batch.lam < 1
        for mine, own, other in zip(batch.images, plain.images, batch.partner_labels, strict=True):
            rest = mine.float() - batch.lam * own.float()
            if kind == "mixup":
                gaps = (rest - (1 - batch.lam) * plain.images.float()).abs().amax((1, 2, 3))
                partner = int(gaps.argmin())
                assert gaps[partner] < 1e-3
            else:
                cut = (mine != own).any(2)
                gaps = (mine != plain.images).any(3)[:, cut].sum(1)
                partner = int(gaps.argmin())
                assert gaps[partner] == 0
                if gaps.eq(0).sum() > 1:  # too little to tell by
                    continue
            assert other == plain.labels[partner]


@BOTH
@pytest.mark.parametrize("micro_batch", [4, 5])
def test_pieces_give_the_whole_batch_s_gradient(
    tmp_path: Path, tiny: Callable, kind: str, micro_batch: int
) -> None:
    changes = {**PLAIN, "augment.mix.kind": kind, "loss.label_smoothing": 0.1}
    runs = [
        prepared(tiny({**changes, "training.micro_batch_size": size}), tmp_path / str(size))
        for size in (micro_batch, None)
    ]
    batches = [first_batch(run, 13) for run in runs]
    assert torch.equal(batches[0].images, batches[1].images)
    assert batches[0].lam == batches[1].lam < 1
    outcomes = [backward(run, batch) for run, batch in zip(runs, batches, strict=True)]
    torch.testing.assert_close(outcomes[0][0], outcomes[1][0], rtol=1e-6, atol=0)
    assert outcomes[0][1] == outcomes[1][1]
    torch.testing.assert_close(gradients(runs[0]), gradients(runs[1]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_hits_are_counted_against_the_label_with_the_larger_share(
    tmp_path: Path, tiny: Callable, share: float
) -> None:
    run = prepared(tiny({**PLAIN}), tmp_path / "run")
    batch = first_batch(run, 20)
    mixed = batch._replace(partner_labels=batch.labels.roll(1), lam=share)
    predicted = run.network(batch.images).argmax(1)
    # so that both ways of counting differ
    mixed = mixed._replace(
        partner_labels=torch.where(torch.arange(20) < 15, predicted, mixed.partner_labels)
    )
    wanted = mixed.labels if share >= 0.5 else mixed.partner_labels
    _, hits = backward(run, mixed)
    assert int(hits) == int((predicted == wanted).sum())
    assert (predicted == mixed.partner_labels).sum() >= 15 > (predicted == mixed.labels).sum()


@BOTH
def test_examples_are_selected_by_their_mixed_loss(
    tmp_path: Path, tiny: Callable, kind: str
) -> None:
    changes = {**PLAIN, "augment.mix.kind": kind, "training.selective_backprop.keep": 0.25}
    run = prepared(tiny(changes), tmp_path / "run")
    batch = first_batch(run)
    assert batch.partner_labels is not None
    losses = []
    with torch.no_grad():
        logits = run.state.classifier.eval()(batch.images).double()
    for z, own, other in zip(logits, batch.labels, batch.partner_labels, strict=True):
        target = slow_target(int(own), int(other), batch.lam, 0.0, logits.shape[1])
        losses.append(slow_loss(z, target))
    order = sorted(range(len(losses)), key=lambda place: -losses[place])
    kept = sorted(order[: round(0.25 * len(losses))])
    chosen = select_hard_examples(run, batch)
    assert torch.equal(chosen.images, batch.images[kept])
    assert torch.equal(chosen.labels, batch.labels[kept])
    assert chosen.partner_labels is not None and torch.equal(
        chosen.partner_labels, batch.partner_labels[kept]
    )
    assert chosen.lam == batch.lam


@BOTH
def test_a_smaller_size_keeps_the_labels(tmp_path: Path, tiny: Callable, kind: str) -> None:
    sizes = [{"start": "0 steps", "pixels": 5}]
    run = prepared(
        tiny({"augment.mix.kind": kind, "augment.progressive_resize": sizes}), tmp_path / "run"
    )
    batch = first_batch(run)
    small = resize(run, batch, 0)
    assert small.images.shape[1:3] == (5, 5)
    assert small[1:] == batch[1:]
    before = {name: t.clone() for name, t in run.state.classifier.state_dict().items()}
    step(run, batch)
    after = run.state.classifier.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before)


class Seen(Watching):
    """Sums of the pixels of each training pass."""

    def __init__(self) -> None:
        self.sums: list[float] = []

    def on_train_start(self, run: Run) -> None:
        def look(classifier: Any, given: Any) -> None:
            if classifier.training:
                self.sums.append(given[0].double().sum().item())

        run.state.classifier.register_forward_pre_hook(look)


@BOTH
def test_a_resumed_run_is_shown_the_same_mixtures(
    tmp_path: Path, tiny: Callable, end_of: Callable, signal_after: Callable, kind: str
) -> None:
    recipe = tiny({"augment.mix": {"kind": kind, "prob": 0.7}})
    whole, parts = Seen(), Seen()
    train(recipe, RunFolder(tmp_path / "whole"), callbacks=[whole])
    folder = RunFolder(tmp_path / "parts")
    with pytest.raises(Interrupted):
        train(recipe, folder, callbacks=[parts, signal_after(14)])
    train(recipe, folder, resume=True, callbacks=[parts])
    assert parts.sums == whole.sums
    assert end_of(folder) == end_of(RunFolder(tmp_path / "whole"))
