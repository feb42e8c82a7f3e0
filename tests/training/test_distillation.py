"""A teacher's part of the loss, and teachers that are refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from tiny_runs import first_batch, prepare_run

from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError, RecipeError, RunFolderError
from cifarlab.system.files import sha256
from cifarlab.training.step import backward
from cifarlab.training.train import train


def teach(folder: RunFolder, **settings: float) -> dict:
    digest = sha256(folder.measured_weights())
    teacher = {"teacher": str(folder.path), "weights_sha256": digest, **settings}
    return {"training.distillation": teacher}


def test_the_loss_is_the_papers(tiny, finished: RunFolder, tmp_path: Path) -> None:
    plain = prepare_run(tiny({"model.dropout": 0.0}), tmp_path / "plain")
    settings = teach(finished, temperature=3.0, weight=0.7) | {"model.dropout": 0.0}
    run = prepare_run(tiny(settings), tmp_path / "student")
    batch = first_batch(run)
    hard, _ = backward(plain, batch)
    loss, _ = backward(run, batch)
    with torch.no_grad():
        student = run.network(batch.images).numpy().astype(float)
    teacher = run.teacher._predictor.logits(batch.images).numpy().astype(float)
    p, q = softmax(teacher / 3, axis=1), softmax(student / 3, axis=1)
    divergence = (p * np.log(p / q)).sum(1).mean()
    assert float(loss) == pytest.approx(0.3 * float(hard) + 0.7 * 9 * divergence, rel=1e-4)


def test_the_teacher_stays_as_it_is(tiny, finished: RunFolder, tmp_path: Path) -> None:
    run = prepare_run(tiny(teach(finished)), tmp_path / "student")
    teacher = run.teacher._predictor.classifier
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    backward(run, first_batch(run))
    assert all(torch.equal(before[name], t) for name, t in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_micro_batches_have_the_batchs_gradient(tiny, finished: RunFolder, tmp_path: Path) -> None:
    losses = []
    for size in (None, 40):
        changes = teach(finished) | {"model.norm": {"kind": "none"}, "model.dropout": 0.0}
        changes |= {"model.weight_standardization": False, "training.micro_batch_size": size}
        run = prepare_run(tiny(changes), tmp_path / str(size))
        losses.append(float(backward(run, first_batch(run))[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_weights_decide_and_their_folder_does_not(tiny, finished: RunFolder, tmp_path) -> None:
    moved = RunFolder(shutil.copytree(finished.path, tmp_path / "moved"))
    assert fingerprint(tiny(teach(finished))) == fingerprint(tiny(teach(moved)))
    assert fingerprint(tiny(teach(finished))) != fingerprint(tiny(teach(moved, weight=0.5)))


def test_a_resumed_student_has_its_teacher(
    tiny, finished: RunFolder, tmp_path: Path, signal_after, end_of
) -> None:
    recipe = tiny(teach(finished))
    train(recipe, tmp_path / "whole", callbacks=())
    with pytest.raises(Exception, match="interrupted"):
        train(recipe, tmp_path / "cut", callbacks=[signal_after(15)])
    train(recipe, tmp_path / "cut", resume=True, callbacks=())
    assert end_of(RunFolder(tmp_path / "cut")) == end_of(RunFolder(tmp_path / "whole"))


def test_teachers_that_are_refused(tiny, finished: RunFolder, tmp_path: Path) -> None:
    settings = teach(finished)
    wrong = settings["training.distillation"] | {"weights_sha256": "0" * 64}
    with pytest.raises(CheckpointError, match="not those that the recipe names") as error:
        train(tiny({"training.distillation": wrong}), tmp_path / "a", callbacks=())
    assert settings["training.distillation"]["weights_sha256"] in error.value.hint
    with pytest.raises(RecipeError, match="held out other images"):
        train(tiny(settings | {"data.split_seed": 1}), tmp_path / "b", callbacks=())
    size = {"data.images.size": 12, "data.images.resize_mode": "stretch"}
    with pytest.raises(RecipeError, match="other classes or sizes"):
        train(tiny(settings | size), tmp_path / "c", callbacks=())
    wrong = settings["training.distillation"] | {"teacher": str(tmp_path / "nothing")}
    with pytest.raises(RunFolderError, match="is no run folder"):
        train(tiny({"training.distillation": wrong}), tmp_path / "d", callbacks=())
    assert not any((tmp_path / name).exists() for name in "abcd")


@pytest.mark.parametrize(
    ("student", "teacher", "refusal"),
    [
        ({}, {"data.val_fraction": 0.0}, "held out other images"),
        ({"data.val_fraction": 0.0, "data.split_seed": 1}, {"data.val_fraction": 0.0}, "cut off"),
        ({"data.val_fraction": 0.0, "data.test_fraction": 0.3}, {}, "cut off other test images"),
    ],
)
def test_a_teacher_that_trained_on_what_judges_its_student_is_refused(
    tiny, tmp_path: Path, student, teacher, refusal
) -> None:
    quick = {"training.duration": "1 steps", "evaluation.test": False}
    train(tiny(quick | teacher), tmp_path / "teacher", callbacks=())
    settings = teach(RunFolder(tmp_path / "teacher"))
    with pytest.raises(RecipeError, match=refusal):
        train(tiny(quick | student | settings), tmp_path / "student", callbacks=())
    assert not (tmp_path / "student").exists()


def test_a_student_without_validation_images_takes_a_teacher_with_some(tiny, tmp_path) -> None:
    quick = {"training.duration": "1 steps", "evaluation.test": False}
    train(tiny(quick), tmp_path / "teacher", callbacks=())
    settings = teach(RunFolder(tmp_path / "teacher"))
    train(tiny(quick | settings | {"data.val_fraction": 0.0}), tmp_path / "student", callbacks=())
    assert RunFolder(tmp_path / "student").is_finished
