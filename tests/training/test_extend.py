"""Longer training: bit-identical to a run planned with its extensions; the finished run stays."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifarlab.config.duration import Duration
from cifarlab.optim.schedules import ScheduleConfig
from cifarlab.recipes.schema import Extension
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError, Interrupted, RecipeError, RunFolderError
from cifarlab.training.callback import Callback
from cifarlab.training.extend import extend_run
from cifarlab.training.request import resolve_request
from cifarlab.training.run import Run
from cifarlab.training.train import train

CONTINUATIONS = ("hold", "restart", "stretch")


def extension_of(duration: str, how: str) -> Extension:
    return Extension(duration=Duration.parse(duration), schedule=how)


def from_scratch(tiny: Callable, path: Path, *extensions: Extension, **changes: Any) -> RunFolder:
    trees = [extension.model_dump(mode="json") for extension in extensions]
    train(tiny({"training.extensions": trees, **changes}), RunFolder(path))
    return RunFolder(path)


@pytest.mark.parametrize("how", CONTINUATIONS)
@pytest.mark.parametrize("duration", ["2 epochs", "15 steps"])
def test_extended_equals_planned_that_long(
    copied: RunFolder, tmp_path: Path, tiny: Callable, end_of: Callable, how: str, duration: str
) -> None:
    before = {p: p.read_bytes() for p in copied.path.rglob("*") if p.is_file()}
    recipe, folder = extend_run(copied, extension_of(duration, how))
    train(recipe, folder, resume=True)
    scratch = from_scratch(tiny, tmp_path / "scratch", extension_of(duration, how))
    assert end_of(folder) == end_of(scratch)
    assert fingerprint(folder.recipe()) == fingerprint(scratch.recipe())
    assert {p: p.read_bytes() for p in copied.path.rglob("*") if p.is_file()} == before
    assert folder.provenance()["extends"] == str(copied.path)


def test_a_short_last_epoch_may_be_extended(
    tmp_path: Path, tiny: Callable, end_of: Callable
) -> None:
    finished = RunFolder(tmp_path / "short")
    train(tiny({"training.duration": "15 steps"}), finished)
    recipe, folder = extend_run(finished, extension_of("1 epoch", "restart"))
    train(recipe, folder, resume=True)
    changes = {"training.duration": "15 steps"}
    scratch = from_scratch(
        tiny, tmp_path / "scratch", extension_of("1 epoch", "restart"), **changes
    )
    assert end_of(folder) == end_of(scratch)


def test_extended_twice(
    copied: RunFolder, tmp_path: Path, tiny: Callable, end_of: Callable
) -> None:
    folder = copied
    for how in ("hold", "restart"):
        recipe, folder = extend_run(folder, extension_of("1 epoch", how))
        train(recipe, folder, resume=True)
    extensions = [extension_of("1 epoch", "hold"), extension_of("1 epoch", "restart")]
    assert end_of(folder) == end_of(from_scratch(tiny, tmp_path / "scratch", *extensions))


def test_an_interrupted_continuation_is_resumed(
    copied: RunFolder, tmp_path: Path, tiny: Callable, end_of: Callable, signal_after: Callable
) -> None:
    recipe, folder = extend_run(copied, extension_of("2 epochs", "stretch"))
    with pytest.raises(Interrupted):
        train(recipe, folder, resume=True, callbacks=[signal_after(40)])
    train(recipe, folder, resume=True)
    scratch = from_scratch(tiny, tmp_path / "scratch", extension_of("2 epochs", "stretch"))
    assert end_of(folder) == end_of(scratch)


def test_the_three_continuations_differ(copied: RunFolder) -> None:
    lrs = []
    for how in CONTINUATIONS:
        recipe, folder = extend_run(copied, extension_of("2 epochs", how))
        train(recipe, folder, resume=True)
        lrs.append([line["lr"] for line in folder.metrics.read()])
    assert lrs[0][2] == lrs[0][3] == lrs[0][4]  # hold
    assert lrs[1][3] == 0.1  # restart: a warm-up's end again
    assert lrs[2][2] == lrs[0][2]  # the epochs before stay as they were
    assert lrs[2][3] > lrs[2][4]  # stretch: further down a longer cosine


class LearningRates(Callback):
    """The learning rate of each step, as the optimizer has it."""

    def __init__(self) -> None:
        self.lrs: list[float] = []

    def on_step_end(self, run: Run, images: int) -> None:
        self.lrs.append(run.state.optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("kind", ScheduleConfig.kinds())
def test_hold_keeps_the_last_lr_under_every_schedule(
    tmp_path: Path, tiny: Callable, end_of: Callable, kind: str
) -> None:
    """Under plateau the last epoch's loss lowers the learning rate, and no epoch follows."""
    falling = {"patience": 0, "threshold": 0.99} if kind == "plateau" else {}
    changes = {"schedule": {"kind": kind, **falling}, "training.duration": "2 epochs"}
    folder, first, second = RunFolder(tmp_path / "run"), LearningRates(), LearningRates()
    train(tiny(changes), folder, callbacks=[first])
    for duration in ("1 epoch", "13 steps"):
        recipe, folder = extend_run(folder, extension_of(duration, "hold"))
        train(recipe, folder, resume=True, callbacks=[second])
    assert second.lrs == first.lrs[-1:] * (11 + 13)
    extensions = extension_of("1 epoch", "hold"), extension_of("13 steps", "hold")
    assert end_of(folder) == end_of(
        from_scratch(tiny, tmp_path / "scratch", *extensions, **changes)
    )


def test_an_unfinished_run_is_not_extended(copied: RunFolder) -> None:
    copied.result_file.unlink()
    with pytest.raises(RunFolderError, match="has not finished"):
        extend_run(copied, extension_of("1 epoch", "hold"))


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_a_run_whose_weights_were_changed_is_not_extended(
    copied: RunFolder, tmp_path: Path, tiny: Callable, checkpoint: str
) -> None:
    other = RunFolder(tmp_path / "other")
    train(tiny({"seed": 1}), other)
    shutil.copyfile(other.weights(checkpoint), copied.weights(checkpoint))
    with pytest.raises(CheckpointError, match="it was changed"):
        extend_run(copied, extension_of("1 epoch", "hold"))
    assert sorted(p.name for p in copied.path.parent.iterdir()) == ["copied", "other"]


def test_a_continuation_is_not_begun_twice(copied: RunFolder) -> None:
    extend_run(copied, extension_of("1 epoch", "hold"))
    with pytest.raises(RunFolderError, match="holds that continuation already"):
        extend_run(copied, extension_of("1 epoch", "hold"))


@pytest.mark.parametrize(
    ("extend", "schedule", "message"),
    [
        ("2 epochs", None, "hold, restart, stretch"),
        ("2 epochs", "cosine", "not 'cosine'"),
        ("2", "hold", "has no unit"),
        ("soon", "hold", "no duration"),
    ],
)
def test_a_wrong_extension_is_refused(
    copied: RunFolder, extend: str, schedule: str | None, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve_request("tiny", run=copied.path, extend=extend, schedule=schedule)
    assert [p.name for p in copied.path.parent.iterdir()] == ["copied"]


@pytest.mark.parametrize("extend", ["0 epochs", "0 steps", "0.5 of the run"])
def test_an_extension_without_length_is_refused(copied: RunFolder, extend: str) -> None:
    with pytest.raises(RecipeError):
        resolve_request("tiny", run=copied.path, extend=extend, schedule="hold")
    assert [p.name for p in copied.path.parent.iterdir()] == ["copied"]
