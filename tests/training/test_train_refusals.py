"""Folders and checkpoints that don't fit are refused, and what lies there stays as it was."""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError, CifarlabError, RunFolderError
from cifarlab.training import loop
from cifarlab.training.train import train


def content(folder: RunFolder) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file() and p.name != ".lock"}


def unfinished(folder: RunFolder) -> RunFolder:
    folder.result_file.unlink()
    return folder


def test_a_new_run_never_writes_into_another(copied: RunFolder, tiny: Callable) -> None:
    before = content(copied)
    with pytest.raises(RunFolderError, match="holds a run already"):
        train(tiny(), copied)
    assert content(copied) == before


def test_a_finished_run_is_not_resumed(copied: RunFolder, tiny: Callable) -> None:
    before = content(copied)
    with pytest.raises(RunFolderError, match="has finished"):
        train(tiny(), copied, resume=True)
    assert content(copied) == before


@pytest.mark.parametrize("changes", [{"seed": 1}, {"optimizer.lr": 0.05}])
def test_another_recipe(copied: RunFolder, tiny: Callable, changes: dict) -> None:
    before = content(unfinished(copied))
    with pytest.raises(RunFolderError, match="another recipe"):
        train(tiny(changes), copied, resume=True)
    assert content(copied) == before


def test_nothing_to_resume(tmp_path: Path, tiny: Callable) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        train(tiny(), RunFolder(tmp_path / "run"), resume=True)


def hold(path: Path, held: Event, release: Event) -> None:
    with RunFolder(path).lock():
        held.set()
        release.wait()


def test_a_folder_in_use_by_another_process(copied: RunFolder, tiny: Callable) -> None:
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(copied.path, held, release))
    holder.start()
    held.wait()
    before = content(unfinished(copied))
    try:
        with pytest.raises(RunFolderError, match="in use by another process"):
            train(tiny(), copied, resume=True)
        assert content(copied) == before
    finally:
        release.set()
        holder.join()
    train(tiny(), copied, resume=True)  # free again


def test_other_images(copied: RunFolder, tiny: Callable) -> None:
    provenance = unfinished(copied).provenance()
    provenance["data"]["fingerprint"] = "0" * 64
    copied.write_provenance(provenance)
    before = content(copied)
    with pytest.raises(RunFolderError, match="images are not those"):
        train(tiny(), copied, resume=True)
    assert content(copied) == before


def test_a_checkpoint_of_another_model(copied: RunFolder, tiny: Callable, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    train(tiny({"model.channels": [4, 6]}), other)
    shutil.copytree(other.checkpoints, unfinished(copied).checkpoints, dirs_exist_ok=True)
    before = content(copied)
    with pytest.raises(CheckpointError, match="another model"):
        train(tiny(), copied, resume=True)
    assert content(copied) == before


def test_a_checkpoint_of_a_longer_run(copied: RunFolder, tiny: Callable, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    train(tiny({"training.duration": "4 epochs"}), other)
    shutil.copytree(other.checkpoints, unfinished(copied).checkpoints, dirs_exist_ok=True)
    with pytest.raises(CheckpointError, match="step 44, the run has 33"):
        train(tiny(), copied, resume=True)


def test_weights_and_state_of_different_steps(
    copied: RunFolder, tiny: Callable, tmp_path: Path
) -> None:
    other = RunFolder(tmp_path / "other")
    train(tiny({"training.duration": "2 epochs"}), other)
    shutil.copyfile(other.weights("last"), unfinished(copied).weights("last"))
    with pytest.raises(CheckpointError, match="step 22, was not saved with its state, of step 33"):
        train(tiny(), copied, resume=True)


def test_another_seed_s_weights_beside_a_state(
    copied: RunFolder, tiny: Callable, tmp_path: Path
) -> None:
    """Of the same step: nothing but their content tells them apart."""
    other = RunFolder(tmp_path / "other")
    train(tiny({"seed": 1}), other)
    shutil.copyfile(other.weights("last"), unfinished(copied).weights("last"))
    before = content(copied)
    with pytest.raises(CheckpointError, match="was not saved with its state"):
        train(tiny(), copied, resume=True)
    assert content(copied) == before


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_another_seed_s_best_of_the_same_epoch(
    tiny: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str
) -> None:
    """Its sha256 would be written into the result, and where it is measured, its accuracy."""
    changes, real = {"evaluation.checkpoint": checkpoint}, loop.validate
    monkeypatch.setattr(loop, "validate", lambda run: real(run) | {"accuracy": 0.5})
    folder, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "other")
    for run, seed in ((folder, 0), (other, 1)):  # no epoch is better than the first
        assert train(tiny(changes | {"seed": seed}), run)["best"]["epoch"] == 1
    shutil.copyfile(other.weights("best"), unfinished(folder).weights("best"))
    with pytest.raises(CheckpointError, match="is not what the best epoch, "):
        train(folder.recipe(), folder, resume=True)
    assert not folder.is_finished


@pytest.mark.parametrize("name", ["last", "last.state"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing"])
def test_a_damaged_checkpoint(copied: RunFolder, tiny: Callable, name: str, damage: str) -> None:
    """Never a silent start from nothing: hours of training may be rescued from what is left."""
    path = unfinished(copied).weights(name)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else b"")
    before = content(copied)
    with pytest.raises(CheckpointError):
        train(tiny(), copied, resume=True)
    assert content(copied) == before


def test_a_state_without_its_tensors(copied: RunFolder, tiny: Callable) -> None:
    path = unfinished(copied).weights("last.state")
    spoil(path, {}, lambda tensors: {k: t for k, t in tensors.items() if k != "totals.loss"})
    with pytest.raises(CheckpointError, match=r"totals\.loss"):
        train(tiny(), copied, resume=True)


def test_a_metrics_log_without_epochs_before_the_checkpoint(
    copied: RunFolder, tiny: Callable
) -> None:
    lines = unfinished(copied).metrics.path.read_text().splitlines(keepends=True)
    copied.metrics.path.write_text("".join(lines[1:]))
    with pytest.raises(RunFolderError, match="lacks epochs"):
        train(tiny(), copied, resume=True)


def test_leftovers_of_another_run_are_not_mixed_in(
    copied: RunFolder, tiny: Callable[..., Recipe]
) -> None:
    """A folder whose recipe.yaml has gone: refused, or started with a metrics log of its own."""
    unfinished(copied).recipe_file.unlink()
    try:
        train(tiny(), copied)
    except CifarlabError:
        return
    assert [line["epoch"] for line in copied.metrics.read()] == [1, 2, 3]
    assert len(copied.provenance()["starts"]) == 1


def test_an_emptied_recipe_file_is_not_the_default_recipe(copied: RunFolder) -> None:
    """It would be evaluated on CIFAR-10, downloaded for it."""
    copied.recipe_file.write_text("")
    with pytest.raises(CifarlabError):
        copied.recipe()


def test_a_start_killed_before_its_recipe_was_written_can_be_repeated(
    finished: RunFolder, tiny: Callable, tmp_path: Path, end_of: Callable
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".recipe.yaml.4711.part").write_text("name: ti")
    train(tiny(), RunFolder(tmp_path / "run"))
    assert end_of(RunFolder(tmp_path / "run")) == end_of(finished)


def test_a_failed_start_leaves_no_folder(tmp_path: Path, tiny: Callable) -> None:
    with pytest.raises(CifarlabError):
        train(tiny({"data.source": "no-such-folder"}), RunFolder(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"epoch": None},
        {"best": [1]},
        {"best": {"epoch": 1}},
        {"schedule": 3},
        {"schedule": [1.0, "x", {}]},
        {"optimizer": {"groups.9.k": 1}},
        {"seconds": [1.0]},
    ],
    ids=str,
)
def test_a_state_whose_counters_are_others_is_refused(copied, tiny, change):
    copied.result_file.unlink()
    spoil(copied.weights("last.state"), change, lambda tensors: tensors)
    with pytest.raises(CheckpointError, match=r"last\.state\.safetensors can't be read"):
        train(tiny(), copied, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors | {"totals.loss": torch.zeros(3)},
        lambda tensors: {k: v for k, v in tensors.items() if k != "totals.correct"},
        lambda tensors: tensors | {"optimizer.999.momentum_buffer": torch.zeros(1)},
        lambda tensors: tensors | {"optimizer.x": torch.zeros(1)},
    ],
)
def test_a_state_whose_tensors_are_others_is_refused(copied, tiny, change):
    copied.result_file.unlink()
    spoil(copied.weights("last.state"), {}, change)
    with pytest.raises(CheckpointError, match=r"last\.state\.safetensors can't be read"):
        train(tiny(), copied, resume=True)


def spoil(path, counters, change):
    """Write a state file anew, with other counters and what ``change`` makes of its tensors."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["cifarlab"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path.write_bytes(save(change(tensors), {"cifarlab": json.dumps(about | counters)}))
