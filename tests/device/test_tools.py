"""What is done with a trained network, on a device like a GPU: as on the processor."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_runs import IMAGES, find_differences
from mock_device import use_mock_device

from cifarlab.audit.duplicates import find_near_duplicates
from cifarlab.evaluation.features import features
from cifarlab.evaluation.run_evaluation import evaluate_fully, evaluate_run
from cifarlab.explain import maps
from cifarlab.explain.maps import class_activation_maps, feature_maps, map_shapes
from cifarlab.explain.sanity import randomize_layers
from cifarlab.inference import predictor
from cifarlab.inference.inputs import Inputs
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import choose_compute
from cifarlab.training.tensor_stats import TensorStats
from cifarlab.training.train import train


def silent(_what: str, _done: int, _total: int | None) -> None: ...


def without_seconds(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: without_seconds(v) for k, v in tree.items() if k not in ("cost", "time")}
    return [without_seconds(entry) for entry in tree] if isinstance(tree, list) else tree


def evaluate(folder: RunFolder) -> Any:
    return [evaluate_run(folder, "val", views) for views in (1, 10)]


def run_full_evaluation(folder: RunFolder) -> Any:
    return without_seconds(evaluate_fully(folder, n_images=20))


def explain(folder: RunFolder) -> Any:
    predictor = Predictor.load(folder.weights("last"))
    shapes = map_shapes(predictor)
    cascade = randomize_layers(predictor, IMAGES[:3])
    return {
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "maps": class_activation_maps(predictor, IMAGES, list(shapes)),
        "features": feature_maps(predictor, IMAGES, list(shapes)),
        "cascade": cascade.maps,
        "before the last layer": features(predictor, IMAGES),
    }


def predict(folder: RunFolder) -> Any:
    return RunPredictor(folder).predict(Inputs(list("abcdefg"), IMAGES)).probabilities


def find_duplicates(_folder: RunFolder) -> Any:
    images = np.concatenate([IMAGES, IMAGES ^ 1, IMAGES[:2]])
    twins = find_near_duplicates(images, choose_compute().device, silent)
    assert len(twins.pairs) == 9
    return {"pairs": twins.pairs.tolist(), "similarity": twins.similarity}


def test_a_difference_is_noticed() -> None:
    tree = {"a": [1.0, np.ones(3), "x"]}
    assert not find_differences({"a": [1.00001, np.ones(3), "x"]}, tree)
    different = {"a": [1.001, np.ones(2), "y"]}
    assert [d.split(":")[0] for d in find_differences(different, tree)] == [".a.0", ".a.1", ".a.2"]
    assert find_differences({"a": [1.0]}, tree) and find_differences({}, tree)


@pytest.mark.parametrize("tool", [evaluate, run_full_evaluation, explain, predict, find_duplicates])
def test_a_tool_gives_the_same_on_both_devices(tool: Callable, copied: RunFolder) -> None:
    expected = tool(copied)
    for options in ({}, {"index": False}, {"float64": False}):
        with use_mock_device(**options):
            assert not find_differences(tool(copied), expected)


def test_the_tensor_stats_are_the_same(tiny: Callable, tmp_path: Path) -> None:
    recipe = tiny({"data.train_subset_fraction": 0.1, "training.duration": "1 epoch"})
    plain, folder = RunFolder(tmp_path / "processor"), RunFolder(tmp_path / "device")
    train(recipe, plain, callbacks=[TensorStats()])
    with use_mock_device():
        train(recipe, folder, callbacks=[TensorStats()])
    assert len(plain.tensor_stats.read()) == 2
    assert not find_differences(folder.tensor_stats.read(), plain.tensor_stats.read())


@pytest.mark.parametrize("threshold", [None, 0.0, 0.5])
def test_predicting_waits_for_the_logits_alone(
    threshold: float | None, finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "GPU_BATCH", 2)  # four batches
    with use_mock_device() as device:
        ours = replace(Predictor.load(finished.weights("last")), tta_threshold=threshold)
        device.take_waits()
        ours.logits(IMAGES, 6)
        waits = device.take_waits()
    assert len(waits) == (1 if threshold is None else 2)
    assert all(wait.startswith("a copy from the device") for wait in waits)


@pytest.mark.parametrize("n_images", [7, 1])
def test_class_activation_maps_wait_for_the_maps_alone(
    n_images: int, finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "_BATCH", 2)  # four batches, the last of a single image
    with use_mock_device() as device:
        ours = Predictor.load(finished.weights("last"))
        layers = list(map_shapes(ours))
        device.take_waits()
        class_activation_maps(ours, IMAGES[:n_images], layers, np.zeros(n_images, int))
        waits = device.take_waits()
    # the layers' names come from a pass over one image, the classes predicted from one over all
    assert len(waits) == 2 + len(layers)
    assert all(wait.startswith("a copy from the device") for wait in waits)
