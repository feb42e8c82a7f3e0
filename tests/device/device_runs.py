"""Short runs on the mock device, and what is compared of them with the processor's."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from mock_device import Device

from cifarlab.explain.maps import class_activation_maps, map_shapes
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.tta import confidence_threshold
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.system.errors import Interrupted
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.train import train

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), dtype=np.uint8)


class WaitRecorder(Callback):
    """A callback that keeps what the host waited for between the first batch and the last step."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.count = 0
        self.waits: list[str] = []

    def on_train_start(self, run: Run) -> None:
        self.device.take_waits()

    def on_step_end(self, run: Run, images: int) -> None:
        self.count += 1
        # the clock waits before it starts, as it should
        self.waits += [wait for wait in self.device.take_waits() if "training/clock.py" not in wait]

    def on_validation_end(self, run: Run) -> None:
        self.device.take_waits()

    def on_epoch_end(self, run: Run, line: dict[str, Any]) -> None:
        self.device.take_waits()


@dataclass
class Outcome:
    """What a run came to: losses, measurements, and of made images logits and each layer's maps."""

    metrics: list[dict[str, Any]]
    result: dict[str, Any]
    logits: np.ndarray
    maps: dict[str, np.ndarray]


def train_in_two(recipe: Recipe, folder: RunFolder, callback: Any, interrupt: Any) -> None:
    """Train, interrupted by ``interrupt`` and resumed from the checkpoint."""
    with pytest.raises(Interrupted):
        train(recipe, folder, callbacks=[callback, interrupt])
    train(recipe, folder, resume=True, callbacks=[callback])


def read_outcome(folder: RunFolder) -> Outcome:
    """Return the outcome of a finished run, computed on the device in use."""
    predictor = Predictor.load(folder.weights("last"))
    images = np.repeat(IMAGES, predictor.image_shape[2], 3)
    threshold = confidence_threshold(predictor.logits(images), 0.3)
    return Outcome(
        metrics=without_cost(folder.metrics.read()),
        result={k: v for k, v in without_cost(folder.result()).items() if k != "weights_sha256"},
        logits=replace(predictor, tta_threshold=threshold).logits(images, 6).numpy(),
        maps=class_activation_maps(predictor, images, list(map_shapes(predictor))),
    )


def find_differences(actual: Any, expected: Any, path: str = "") -> list[str]:
    """Return where two trees of values differ by more than the last digits of numbers."""
    if isinstance(expected, dict):
        if actual.keys() != expected.keys():
            return [f"{path}: its keys are {[*actual]}, not {[*expected]}"]
        pairs = [(key, actual[key], expected[key]) for key in expected]
    elif isinstance(expected, list | tuple):
        if len(actual) != len(expected):
            return [f"{path}: it has {len(actual)} entries, not {len(expected)}"]
        pairs = [(n, *pair) for n, pair in enumerate(zip(actual, expected, strict=True))]
    elif isinstance(expected, float | np.ndarray):
        tolerance = 1e-4 * float(np.max(np.abs(expected), initial=1))
        same = np.shape(actual) == np.shape(expected)
        same = same and np.allclose(actual, expected, rtol=0, atol=tolerance, equal_nan=True)
        return [] if same else [f"{path}: it is {actual}, not {expected}"]
    else:
        return [] if actual == expected else [f"{path}: it is {actual}, not {expected}"]
    return [d for key, *pair in pairs for d in find_differences(*pair, f"{path}.{key}")]
