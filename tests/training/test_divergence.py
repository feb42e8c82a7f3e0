"""A loss or weight that becomes NaN ends the run by name; the last good checkpoint stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from cifarlab.inference.predictor import Predictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CifarlabError, DivergenceError
from cifarlab.training import step
from cifarlab.training.callback import Callback
from cifarlab.training.train import train

REAL_LOSS, REAL_SCHEDULE = step.mean_loss, step.apply_schedule


def spoil_loss(monkeypatch: pytest.MonkeyPatch, bad_step: int, value: float) -> None:
    """The loss of step ``bad_step`` becomes ``value``."""
    calls = iter(range(10**6))

    def spoilt(*arguments: Any) -> Tensor:
        loss = REAL_LOSS(*arguments)
        return loss * value if next(calls) == bad_step else loss

    monkeypatch.setattr(step, "mean_loss", spoilt)


def explode_lr(monkeypatch: pytest.MonkeyPatch, bad_step: int) -> None:
    """From ``bad_step`` on, the learning rate is so large that float32 weights overflow at once."""

    def spoilt(optimizer: Optimizer, schedule: Any, number: int, *length: Any) -> None:
        REAL_SCHEDULE(optimizer, schedule, number, *length)
        if number >= bad_step:
            for group in optimizer.param_groups:
                group["lr"] = 1e45

    monkeypatch.setattr(step, "apply_schedule", spoilt)


def require_checkpoint(folder: RunFolder, epoch: int) -> None:
    about, tensors = WeightsFile.read(folder.weights("last"))
    assert (about.epoch, about.step) == (epoch, 11 * epoch)
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    Predictor.load(folder.weights("last"))
    assert [line["epoch"] for line in folder.metrics.read()] == list(range(1, epoch + 1))
    assert not folder.is_finished


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("bad_step", "epoch"), [(11, 2), (15, 2), (32, 3)])
def test_a_bad_loss_names_its_step_and_epoch(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    bad_step: int,
    epoch: int,
) -> None:
    spoil_loss(monkeypatch, bad_step, value)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(DivergenceError) as caught:
        train(tiny(), folder)
    assert f"at step {bad_step} (epoch {epoch})" in caught.value.what
    assert f"checkpoint of epoch {epoch - 1} is kept" in caught.value.hint
    assert "optimizer.lr" in caught.value.hint
    require_checkpoint(folder, epoch - 1)


def test_a_huge_lr_in_the_first_epoch(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    folder = RunFolder(tmp_path / "run")
    changes = {"optimizer.lr": 1e30, "schedule.kind": "constant"}
    with pytest.raises(DivergenceError, match=r"\(epoch 1\), at learning rate 1e\+30") as caught:
        train(tiny(changes), folder)
    assert "kept" not in caught.value.hint  # nothing was
    assert not folder.is_finished


# the last step of an epoch has no next loss that could show the damage
@pytest.mark.parametrize("bad_step", [11, 16, 21])
@pytest.mark.parametrize("validation", [0.1, 0.0])
def test_a_huge_lr_later_keeps_the_good_checkpoint(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    bad_step: int,
    validation: float,
) -> None:
    explode_lr(monkeypatch, bad_step)
    folder = RunFolder(tmp_path / "run")
    changes = {"data.val_fraction": validation, "training.batch_size": 128 if validation else 138}
    with pytest.raises(DivergenceError):
        train(tiny(changes), folder)
    require_checkpoint(folder, 1)


def test_a_run_goes_on_from_what_was_kept(
    tmp_path: Path, tiny: Callable[..., Recipe], end_of: Callable, finished: RunFolder
) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        spoil_loss(patch, 25, float("nan"))
        with pytest.raises(DivergenceError):
            train(tiny(), folder)
    train(tiny(), folder, resume=True)
    assert end_of(folder) == end_of(finished)


def test_an_interrupt_does_not_save_spoilt_weights_over_good_ones(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    signal_after: Callable[[int], Callback],
) -> None:
    """The update is bad, its loss was still finite, and Ctrl-C comes right then."""
    explode_lr(monkeypatch, 15)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(CifarlabError):
        train(tiny({"optimizer.lr": 0.05}), folder, callbacks=[signal_after(16)])
    _, tensors = WeightsFile.read(folder.weights("last"))
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
