"""The record of weights, activations and gradients: true, free of consequences, safe from kills."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import first_batch, prepare_run

from cifarlab.config.duration import Duration
from cifarlab.evaluation.activity import dead_units, histogram, subsample
from cifarlab.recipes.schema import Extension
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training.callback import Callback
from cifarlab.training.checkpoint import Checkpoints
from cifarlab.training.extend import extend_run
from cifarlab.training.step import step
from cifarlab.training.tensor_stats import TensorStats, gradient_norms, named_weights, select_images
from cifarlab.training.train import train


class KilledError(BaseException):
    """Nothing in cifarlab catches it."""


class KillAt(Callback):
    """Ends the run as a kill would, at one point of one epoch."""

    def __init__(self, point: str, epoch: int) -> None:
        self.point, self.epoch = point, epoch

    def on_validation_end(self, run: Any) -> None:
        self._end("on_validation_end", run)

    def on_epoch_end(self, run: Any, line: dict[str, Any]) -> None:
        self._end("on_epoch_end", run)

    def on_train_start(self, run: Any) -> None:
        self._end("on_train_start", run)

    def _end(self, point: str, run: Any) -> None:
        if (point, run.state.epoch) == (self.point, self.epoch):
            raise KilledError


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, tiny: Callable) -> RunFolder:
    """The tiny run with its record. Read it, never write to it."""
    folder = RunFolder(tmp_path_factory.mktemp("recorded") / "run")
    train(tiny(), folder, callbacks=[TensorStats()])
    return folder


def content(folder: RunFolder) -> bytes:
    return folder.tensor_stats.path.read_bytes()


def test_a_record_changes_nothing_of_the_run(
    recorded: RunFolder, finished: RunFolder, end_of: Callable
) -> None:
    assert end_of(recorded) == end_of(finished)
    assert not finished.tensor_stats.path.exists()


def test_every_epoch_has_a_line_from_before_the_first_step_on(recorded: RunFolder) -> None:
    lines = recorded.tensor_stats.read()
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert {line["images"] for line in lines} == {25}
    assert lines[0]["grad_norm"] is None and all(line["grad_norm"] > 0 for line in lines[1:])
    layers = ["stem.conv1", "stages.stage1.0.branch.conv1", "stages.stage1.0.branch.conv2"]
    assert list(lines[0]["weights"])[:3] == layers
    assert list(lines[0]["weights"])[-1] == "head"
    assert list(lines[0]["activations"])[:2] == ["stem.act1", "stages.stage1.0.branch.act1"]
    for line in lines:
        for part in ("weights", "activations"):
            assert all(8 <= len(entry["counts"]) <= 64 for entry in line[part].values())
    assert len(lines[0]["weights"]["stages.stage2.0.branch.conv2"]["counts"]) == 17  # of 576


def test_the_last_line_is_of_the_weights_that_are_judged(recorded: RunFolder) -> None:
    from cifarlab.inference.weights import WeightsFile

    _, tensors = WeightsFile.read(recorded.weights("last"))
    weights = recorded.tensor_stats.read()[-1]["weights"]
    for name, entry in weights.items():
        values = tensors[f"body.{name}.weight"].numpy().ravel()
        counts, _ = np.histogram(values, len(entry["counts"]), (values.min(), values.max()))
        assert np.abs(np.array(entry["counts"]) - counts).sum() <= 4  # edges are of float32
        assert entry["low"] == pytest.approx(values.min(), rel=1e-5)
        assert entry["high"] == pytest.approx(values.max(), rel=1e-5)
        assert sum(entry["counts"]) == values.size


@pytest.mark.parametrize("step", [1, 5, 11, 16, 22, 30])
def test_interrupted_and_resumed_it_is_the_same_file(
    tmp_path: Path, tiny: Callable, recorded: RunFolder, signal_after: Callable, step: int
) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(tiny(), folder, callbacks=[TensorStats(), signal_after(step)])
    train(tiny(), folder, resume=True, callbacks=[TensorStats()])
    assert content(folder) == content(recorded)


@pytest.mark.parametrize("first", [False, True], ids=["behind the record", "before the record"])
@pytest.mark.parametrize(
    ("point", "epoch"),
    [
        ("on_train_start", 0),
        ("on_validation_end", 1),
        ("on_epoch_end", 1),
        ("on_validation_end", 3),
        ("on_epoch_end", 3),
    ],
)
def test_killed_and_resumed_it_is_the_same_file(
    tmp_path: Path, tiny: Callable, recorded: RunFolder, point: str, epoch: int, first: bool
) -> None:
    folder, kill = RunFolder(tmp_path / "run"), KillAt(point, epoch)
    with pytest.raises(KilledError):
        train(tiny(), folder, callbacks=[kill, TensorStats()] if first else [TensorStats(), kill])
    train(tiny(), folder, resume=True, callbacks=[TensorStats()])
    assert content(folder) == content(recorded)


def test_killed_between_record_and_checkpoint(
    tmp_path: Path, tiny: Callable, recorded: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = RunFolder(tmp_path / "run"), Checkpoints.save_last

    def dying(self: Checkpoints, state: Any, about: Any) -> None:
        if state.epoch == 2:
            raise KilledError
        real(self, state, about)

    monkeypatch.setattr(Checkpoints, "save_last", dying)
    with pytest.raises(KilledError):
        train(tiny(), folder, callbacks=[TensorStats()])
    assert [line["epoch"] for line in folder.tensor_stats.read()] == [0, 1, 2]
    with folder.tensor_stats.path.open("a") as file:
        file.write('{"epoch": 3, "torn')
    monkeypatch.undo()
    train(tiny(), folder, resume=True, callbacks=[TensorStats()])
    assert content(folder) == content(recorded)


def test_an_extended_run_goes_on_with_the_record(tmp_path: Path, tiny: Callable) -> None:
    folder = RunFolder(tmp_path / "run")
    train(tiny(), folder, callbacks=[TensorStats()])
    before = folder.tensor_stats.read()
    longer = Extension(duration=Duration.parse("1 epoch"), schedule="hold")
    recipe, longer_folder = extend_run(folder, longer)
    train(recipe, longer_folder, resume=True, callbacks=[TensorStats()])
    lines = longer_folder.tensor_stats.read()
    assert lines[:-1] == before and lines[-1]["epoch"] == 4


def test_gradient_norms_are_those_of_the_step(tmp_path: Path, tiny: Callable) -> None:
    run = prepare_run(tiny({"training.clip_grad_norm": 0.5}), tmp_path / "run")
    assert gradient_norms(run) == (
        dict.fromkeys(dict(named_weights(run.state.classifier.body))),
        None,
    )
    step(run, first_batch(run))
    by_layer, norm = gradient_norms(run)
    body = run.state.classifier.body
    for name, layer_norm in by_layer.items():
        gradient = body.get_submodule(name).weight.grad
        assert layer_norm == pytest.approx(float((gradient.double() ** 2).sum() ** 0.5), rel=1e-5)
    squares = sum(float((p.grad.double() ** 2).sum()) for p in body.parameters())
    assert norm == pytest.approx(squares**0.5, rel=1e-5)
    assert norm <= 0.5 * (1 + 1e-5)


def test_frozen_layers_have_no_gradient_norm(tmp_path: Path, tiny: Callable) -> None:
    folder = RunFolder(tmp_path / "run")
    freeze = [{"start": "1 epoch", "stages": 1}]
    train(tiny({"training.freeze": freeze}), folder, callbacks=[TensorStats()])
    _, before, after, _ = (line["weights"] for line in folder.tensor_stats.read())
    assert before["stem.conv1"]["grad_norm"] > 0 and after["stem.conv1"]["grad_norm"] is None
    assert after["head"]["grad_norm"] > 0


def test_averaged_weights_are_the_ones_recorded(tmp_path: Path, tiny: Callable) -> None:
    from cifarlab.inference.weights import WeightsFile

    folder = RunFolder(tmp_path / "run")
    ema = {"averaging.kind": "ema", "averaging.decay": 0.9, "averaging.every": 2}
    train(tiny(ema), folder, callbacks=[TensorStats()])
    _, tensors = WeightsFile.read(folder.weights("last"))
    weights = folder.tensor_stats.read()[-1]["weights"]["stem.conv1"]
    assert weights["high"] == pytest.approx(
        float(tensors["body.stem.conv1.weight"].max()), rel=1e-5
    )


def test_dead_units_are_counted_as_in_the_result(tmp_path: Path, tiny: Callable) -> None:
    run = prepare_run(tiny(), tmp_path / "run")
    norm = run.state.classifier.body.stem.norm1
    with torch.no_grad():
        norm.weight[1], norm.bias[1] = 0.0, -1.0
    TensorStats().on_train_start(run)
    [line] = run.folder.tensor_stats.read()
    indices = select_images(run.loader.indices.numpy())
    images = run.dataset.read("train").images
    expected = dead_units(run.predictor, images, indices)["layers"]
    assert {k: v["dead"] for k, v in line["activations"].items()} == expected
    assert expected["stem.act1"][0] >= 1


def test_a_step_is_left_alone(tmp_path: Path, tiny: Callable) -> None:
    """It gets nothing to work on, so it can't wait for the device."""
    recorder: Any = TensorStats()
    recorder.on_step_end(None, 128)
    recorder.on_epoch_end(None, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("n_train", "images"), [(30, 25), (1294, 25), (5000, 50), (45_000, 125)])
def test_one_image_of_a_hundred(n_train: int, images: int) -> None:
    indices = select_images(np.arange(3, n_train + 3))
    assert indices[0] == 3 and 0.5 * images < len(indices) <= images
    assert len(set(np.diff(indices))) <= 1


def test_evenly_takes_all_that_there_are() -> None:
    assert subsample(np.arange(5), 10).tolist() == [0, 1, 2, 3, 4]


def test_a_large_tensor_is_sampled_in_all_rows_and_columns() -> None:
    columns = torch.arange(64.0).repeat(2 * 4**9 // 64, 1).expand(8, -1, -1)
    summary = histogram(columns)
    assert 2**19 < sum(summary["counts"]) <= 2**20
    assert max(summary["counts"]) < 1.01 * min(summary["counts"])


def test_a_constant_and_an_infinite_tensor() -> None:
    summary = histogram(torch.full((7,), 3.0))
    assert (summary["low"], summary["high"], sum(summary["counts"])) == (2.5, 3.5, 7)
    summary = histogram(torch.tensor([0.0, float("inf")]))
    assert summary == {"low": None, "high": None, "counts": None}
    json.dumps(summary, allow_nan=False)
