"""Micro-batches give the gradient of the whole batch, but for batch normalisation."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import PLAIN_CNN, clone_gradients, first_batch, prepare_run
from torch import nn
from torch.nn.functional import cross_entropy

from cifarlab.models.layers import batch_norms, set_passes
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.run import Run
from cifarlab.training.step import backward, step
from cifarlab.training.train import train

LATER = {"keep": 0.5, "start": "1 steps"}
NORMED = {"model.dropout": 0.0}  # tiny's residual network otherwise


def record_pass_sizes(run: Run) -> list[int]:
    """The number of images of each forward pass from now on."""
    sizes: list[int] = []
    run.state.classifier.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    return sizes


# divisible, not divisible, a micro-batch too large, and the two smallest
@pytest.mark.parametrize(
    ("images", "micro_batch", "expected"),
    [
        (12, 4, [4, 4, 4]),
        (13, 4, [4, 3, 3, 3]),
        (9, 4, [3, 3, 3]),
        (5, 2, [3, 2]),
        (3, 2, [3]),
        (2, 2, [2]),
        (12, 100, [12]),
    ],
)
def test_the_gradient_is_the_whole_batch_s(
    tmp_path: Path, tiny: Callable, images: int, micro_batch: int, expected: list[int]
) -> None:
    smoothing = {"loss.label_smoothing": 0.1}
    divided = prepare_run(
        tiny({**PLAIN_CNN, **smoothing, "training.micro_batch_size": micro_batch}), tmp_path / "a"
    )
    reference = prepare_run(tiny({**PLAIN_CNN, **smoothing}), tmp_path / "b")
    sizes = record_pass_sizes(divided)
    outcomes = [backward(run, first_batch(run, images)) for run in (divided, reference)]
    assert sizes == expected
    torch.testing.assert_close(outcomes[0][0], outcomes[1][0], rtol=1e-6, atol=0)
    assert outcomes[0][1] == outcomes[1][1]
    torch.testing.assert_close(
        clone_gradients(divided), clone_gradients(reference), rtol=1e-5, atol=1e-7
    )


def test_the_update_is_the_whole_batch_s(tmp_path: Path, tiny: Callable) -> None:
    runs = []
    for name, micro_batch in (("a", 24), ("b", None)):
        changes = {
            **PLAIN_CNN,
            "training.clip_grad_norm": 0.1,
            "training.micro_batch_size": micro_batch,
        }
        run = prepare_run(tiny(changes), tmp_path / name)
        before = copy.deepcopy(run.state.classifier.state_dict())
        step(run, first_batch(run))
        runs.append(run.state.classifier.state_dict())
    assert all(not torch.equal(runs[0][name], before[name]) for name in before if "body" in name)
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-5, atol=1e-7)


def test_with_batch_norm_as_written_out_in_plain_torch(tmp_path: Path, tiny: Callable) -> None:
    run = prepare_run(tiny({**NORMED, "training.micro_batch_size": 5}), tmp_path / "run")
    batch = first_batch(run, 13)
    images, labels, *_ = batch
    slow = copy.deepcopy(run.state.classifier)
    set_passes(batch_norms(slow), 3)
    total, n_correct = 0.0, 0
    for first, last in ((0, 5), (5, 9), (9, 13)):
        logits = slow(images[first:last])
        loss = cross_entropy(logits, labels[first:last], reduction="sum") / 13
        loss.backward()
        total, n_correct = (
            total + loss.item(),
            n_correct + int((logits.argmax(1) == labels[first:last]).sum()),
        )
    loss, correct = backward(run, batch)
    assert loss.item() == pytest.approx(total, rel=1e-6)
    assert int(correct) == n_correct
    expected = {name: p.grad for name, p in slow.named_parameters()}
    torch.testing.assert_close(clone_gradients(run), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(run.state.classifier.state_dict(), slow.state_dict())
    reference = prepare_run(tiny(NORMED), tmp_path / "reference")
    backward(reference, batch)  # the micro-batches matter, so the comparison above can fail
    assert not torch.allclose(
        clone_gradients(reference)["body.stem.conv1.weight"],
        clone_gradients(run)["body.stem.conv1.weight"],
        rtol=1e-3,
    )


@pytest.mark.parametrize(
    ("images", "changes"),
    [
        (118, {}),
        (118, {"training.micro_batch_size": 32}),
        (20, {"training.micro_batch_size": 32}),
        (118, {"training.micro_batch_size": 32, "training.selective_backprop.keep": 0.5}),
        (118, {"training.micro_batch_size": 32, "training.selective_backprop": LATER}),
    ],
    ids=[
        "whole",
        "micro-batches",
        "a smaller batch",
        "micro-batches of what is selected",
        "selected later",
    ],
)
def test_a_step_keeps_the_recipe_s_fraction_of_the_running_statistics(
    tmp_path: Path, tiny: Callable, images: int, changes: dict[str, Any]
) -> None:
    """What a step adds is the same whether 0 or 1 was there; what stays is that fraction."""
    after = []
    for start in (0.0, 1.0):
        run = prepare_run(
            tiny({**NORMED, "model.norm.momentum": 0.3, **changes}), tmp_path / str(start)
        )
        norms = [m for m in run.state.classifier.modules() if isinstance(m, nn.BatchNorm2d)]
        # the same images, whatever the statistics say of which are selected
        batch = first_batch(run).select(torch.zeros(images, dtype=torch.int64))
        for norm in norms:
            norm.running_mean.fill_(start)
        step(run, batch)
        after.append(torch.cat([norm.running_mean for norm in norms]))
    torch.testing.assert_close(after[1] - after[0], torch.full_like(after[0], 0.7))


def test_the_metrics_log_has_means_over_all_images(tmp_path: Path, tiny: Callable) -> None:
    """Of micro-batches and batches of different sizes: 118 and 117 images."""
    lines = []
    for name, micro_batch in (("a", 24), ("b", None)):
        changes = {"training.micro_batch_size": micro_batch, "training.duration": "1 epoch"}
        folder = RunFolder(tmp_path / name)
        train(tiny({**PLAIN_CNN, **changes}), folder)
        lines += folder.metrics.read()
    assert lines[0]["train"]["accuracy"] == pytest.approx(lines[1]["train"]["accuracy"], abs=1e-3)
    assert lines[0]["train"]["loss"] == pytest.approx(lines[1]["train"]["loss"], rel=1e-5)
