"""What a whole run does and leaves: seeds, callbacks, precision, selection, the test split."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.optim import Optimizer

from cifarlab.data.dataset import images_file
from cifarlab.data.opening import open_dataset
from cifarlab.evaluation.measure import measure, predict
from cifarlab.evaluation.run_evaluation import evaluate_run
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training import step
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.train import train


def test_the_same_seed_twice_is_bit_identical(
    tmp_path: Path, tiny: Callable, finished: RunFolder, end_of: Callable
) -> None:
    other = RunFolder(tmp_path / "other")
    train(tiny(), other)
    assert end_of(other) == end_of(finished)


def test_another_seed_is_another_run_on_the_same_split(
    tmp_path: Path, tiny: Callable, finished: RunFolder, end_of: Callable
) -> None:
    other = RunFolder(tmp_path / "other")
    train(tiny({"seed": 1}), other)
    a, b = end_of(other), end_of(finished)
    assert all(a[key] != b[key] for key in ("last.safetensors", "state", "metrics", "result"))
    assert other.provenance()["data"] == finished.provenance()["data"]


class Recording(Callback):
    """A callback that writes down its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_train_start(self, run: Run) -> None:
        self.calls.append(("on_train_start", run.state.step))

    def on_step_end(self, run: Run, images: int) -> None:
        self.calls.append(("on_step_end", run.state.step, images))

    def on_validation_end(self, run: Run) -> None:
        assert len(run.folder.metrics.read()) == run.state.epoch - 1
        self.calls.append(("on_validation_end", run.state.epoch))

    def on_epoch_end(self, run: Run, line: dict[str, Any]) -> None:
        assert run.folder.metrics.read()[-1] == line
        assert WeightsFile.read(run.checkpoints.last)[0].step == run.state.step
        self.calls.append(("on_epoch_end", line["epoch"]))

    def on_train_end(self, run: Run, result: dict[str, Any]) -> None:
        assert run.folder.result() == result
        self.calls.append(("on_train_end",))

    def teardown(self, run: Run) -> None:
        self.calls.append(("teardown",))


def test_an_interrupted_run_tears_its_callbacks_down(
    tmp_path: Path, tiny: Callable, signal_after: Callable
) -> None:
    callback = Recording()
    with pytest.raises(Interrupted):
        train(tiny(), RunFolder(tmp_path / "run"), callbacks=[callback, signal_after(2)])
    assert callback.calls[-1] == ("teardown",)


def test_hooks_are_called_in_order_and_change_nothing(
    tmp_path: Path, tiny: Callable, finished: RunFolder, end_of: Callable
) -> None:
    first, second = Recording(), Recording()
    folder = RunFolder(tmp_path / "run")
    train(tiny(), folder, callbacks=[first, second])
    sizes = [118] * 7 + [117] * 4
    expected: list[tuple[Any, ...]] = [("on_train_start", 0)]
    for epoch in range(3):
        expected += [("on_step_end", 11 * epoch + i, n) for i, n in enumerate(sizes, 1)]
        expected += [("on_validation_end", epoch + 1), ("on_epoch_end", epoch + 1)]
    assert first.calls == second.calls == [*expected, ("on_train_end",), ("teardown",)]
    assert end_of(folder) == end_of(finished)


def test_result_and_metrics_log_say_what_happened(finished: RunFolder, tiny: Callable) -> None:
    result, metrics = finished.result(), finished.metrics.read()
    assert result["fingerprint"] == fingerprint(tiny())
    assert (result["epochs"], result["steps"], result["data"]) == (3, 33, "digits")
    expected = {
        "checkpoint": "last",
        "epoch": 3,
        "tta_views": 1,
        "tta_fraction": 1,
        "tta_threshold": None,
    }
    assert result["evaluated"] == expected
    files = {name: sha256(finished.weights(name).read_bytes()) for name in ("last", "best")}
    assert result["weights_sha256"] == {name: digest.hexdigest() for name, digest in files.items()}
    assert [(line["epoch"], line["step"]) for line in metrics] == [(1, 11), (2, 22), (3, 33)]
    # validation during training and the measurement at the end are the same measurement
    assert metrics[-1]["val"]["accuracy"] == result["val"]["accuracy"]
    assert metrics[-1]["val"]["loss"] == result["val"]["loss"]
    best = max(metrics, key=lambda line: line["val"]["accuracy"])
    assert result["best"]["epoch"] == best["epoch"]
    assert metrics[0]["lr"] == 0.1  # the last step of the warm-up
    assert 0 < metrics[-1]["lr"] < 0.001


def test_nothing_held_out_selects_nothing(tmp_path: Path, tiny: Callable) -> None:
    folder = RunFolder(tmp_path / "run")
    result = train(tiny({"data.val_fraction": 0}), folder)
    assert result["best"] is None
    assert "val" not in result and "test" in result
    assert [line["val"] for line in folder.metrics.read()] == [None] * 3
    assert not folder.weights("best").exists()
    assert [p.name for p in folder.predictions.iterdir()] == ["test.safetensors"]


def test_best_is_measured_where_the_recipe_wants_it(
    tmp_path: Path, tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learning rate explodes in the last epoch, so that best and last differ."""
    real = step.apply_schedule

    def exploding(optimizer: Optimizer, schedule: Any, number: int, *length: Any) -> None:
        real(optimizer, schedule, number, *length)
        if number >= 22:
            optimizer.param_groups[0]["lr"] = 5.0

    monkeypatch.setattr(step, "apply_schedule", exploding)
    folder = RunFolder(tmp_path / "run")
    result = train(tiny({"evaluation.checkpoint": "best", "evaluation.tta_views": 2}), folder)
    scores = [line["val"]["accuracy"] for line in folder.metrics.read()]
    epoch = scores.index(max(scores)) + 1
    assert epoch < 3
    expected = {
        "checkpoint": "best",
        "epoch": epoch,
        "tta_views": 2,
        "tta_fraction": 1,
        "tta_threshold": None,
    }
    assert result["evaluated"] == expected
    assert result["best"] == {"epoch": epoch, "metric": "accuracy", "value": max(scores)}
    assert WeightsFile.read(folder.weights("best"))[0].epoch == epoch
    assert evaluate_run(folder, "val", 1)[0]["accuracy"] == max(scores)
    assert evaluate_run(folder, "val")[0] == result["val"]  # of the file of best, with 2 views


def test_bfloat16_is_used_and_recorded(
    tmp_path: Path, tiny: Callable, finished: RunFolder, end_of: Callable
) -> None:
    folder = RunFolder(tmp_path / "run")
    result = train(tiny({"training.precision": "bfloat16"}), folder)
    assert folder.provenance()["precision"] == "bfloat16"
    assert finished.provenance()["precision"] == "float32"
    assert WeightsFile.read(folder.weights("last"))[0].precision == "bfloat16"
    assert np.isfinite(result["val"]["loss"])
    assert end_of(folder)["last.safetensors"] != end_of(finished)["last.safetensors"]


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """Two classes, dark and light, with a test split of their own."""
    draws = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 6)):
        for name, level in (("dark", 40), ("light", 180)):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draws.integers(level, level + 40, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "images"


def folder_recipe(tiny: Callable[..., Recipe], source: Path) -> Recipe:
    return tiny({"data.source": str(source), "training.batch_size": 8})


def test_training_works_with_the_test_file_deleted(
    tmp_path: Path, tiny: Callable, class_folder: Path, end_of: Callable
) -> None:
    recipe = folder_recipe(tiny, class_folder)
    reference = train(recipe, RunFolder(tmp_path / "with test file"))
    assert reference["test"]["n"] == 12 and reference["notes"] == []
    images_file(open_dataset(str(class_folder)).folder, "test").unlink()
    other = train(recipe, RunFolder(tmp_path / "without"))
    assert "test" not in other
    assert len(other["notes"]) == 1 and "no test result" in other["notes"][0]
    assert other["val"] == reference["val"]
    ends = [end_of(RunFolder(tmp_path / name)) for name in ("with test file", "without")]
    assert ends[0]["last.safetensors"] == ends[1]["last.safetensors"]
    assert ends[0]["metrics"] == ends[1]["metrics"]


def test_a_recipe_can_keep_the_test_split_closed(
    tmp_path: Path, tiny: Callable, class_folder: Path
) -> None:
    recipe, folder = folder_recipe(tiny, class_folder), RunFolder(tmp_path / "run")
    result = train(change(recipe, {"evaluation.test": False}), folder)
    assert "test" not in result and "val" in result
    assert folder.provenance()["test_openings"] == []
    assert [file.name for file in folder.predictions.glob("*.safetensors")] == ["val.safetensors"]
    score, _ = evaluate_run(folder, "test")
    assert score["n"] == 12
    assert [opening["opener"] for opening in folder.provenance()["test_openings"]] == ["evaluate"]


def test_a_source_test_split_is_read_once_and_only_at_the_end(
    tmp_path: Path, tiny: Callable, class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cifarlab.data.dataset import Dataset

    reads: list[tuple[str, bool]] = []
    folder, real = RunFolder(tmp_path / "run"), Dataset.read

    def read(self: Dataset, split: str) -> Any:
        reads.append((split, len(folder.metrics.read()) == 3))
        return real(self, split)

    monkeypatch.setattr(Dataset, "read", read)
    train(folder_recipe(tiny, class_folder), folder)
    assert [entry for entry in reads if entry[0] == "test"] == [("test", True)]


def test_the_loaded_predictor_measures_what_the_result_says(
    finished: RunFolder, tiny: Callable
) -> None:
    from cifarlab.data.splits import training_subsets

    _, held_out = training_subsets(open_dataset("digits"), tiny().data)
    assert held_out is not None
    predictor = Predictor.load(finished.weights("last"))
    result = finished.result()
    assert measure(predict(predictor, held_out), result["temperature"]["value"]) == result["val"]
