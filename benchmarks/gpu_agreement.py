"""Whether a GPU computes what the processor does, and whether any step waits for it.

    python benchmarks/gpu_agreement.py [--device cuda] [--data digits] [RECIPE ...]

Each recipe is trained in float32 for 8 steps of 32 images on the processor, then on the device: the
losses' relative difference, and where PyTorch says that a step of the second run waited
(``torch.cuda.set_sync_debug_mode``). Then both predict, and compute the class-activation maps of
every layer for the classes that the processor predicts, with the first run's weights: the largest
differences, relative to the largest value. Bar: 0.01 for losses and maps, 0.001 for logits, no
waits; exit code 1 where one is missed. tests/device/ has a mock device for all this.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import write_result

from cifarlab.data.opening import open_data
from cifarlab.explain.maps import class_activation_maps, map_shapes
from cifarlab.inference.predictor import Predictor
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.extras import require_packages
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.train import train

# the networks, normalizations, optimizers, mixes and averages that are most used
RECIPES = ("speed/94", "speed/96", "resnet18", "asha2021/normaliser-free")
RECIPES += ("asha2021/mixup", "kth2022/norm-group", "kth2022/norm-instance", "kth2022/norm-layer")
RECIPES += ("kth2024/combined", "fudan/plateau", "fudan/resnet10-adadelta", "nyu2024/competition")
STEPS, IMAGES = 8, 32
BARS = {"loss": 0.01, "logits": 0.001, "maps": 0.01}


class WaitRecorder(Callback):
    """Lets PyTorch warn where the host waits for the GPU, between the first step and the last."""

    def on_step_end(self, run: Run, images: int) -> None:
        """Begin after the first step, end after the last one."""
        if run.compute.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn" if run.state.step < run.plan.steps else "default")


def shorten(recipe: Recipe, data: str) -> Recipe:
    """Return the recipe with a few steps on small batches of that data."""
    changes: dict[str, Any] = {
        "data.source": data,
        "training.duration": f"{STEPS} steps",
        "training.batch_size": IMAGES,
        "training.precision": "float32",
        "augment.progressive_resize": [],
        "evaluation.test": False,
    }
    if data == "digits":
        images = {"channels": "rgb", "size": 32, "resize_mode": "stretch"}
        changes |= {f"data.images.{key}": value for key, value in images.items()}
    return change(recipe, changes)


def train_on(device: str, recipe: Recipe, folder: RunFolder) -> tuple[float, list[str]]:
    """Train; return the mean loss of the steps, and where a step waited."""
    os.environ["CIFARLAB_DEVICE"] = device
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        train(recipe, folder, callbacks=[WaitRecorder()], command="benchmark")
    waits = [f"{m.filename}:{m.lineno}" for m in messages if "synchronizing" in str(m.message)]
    return folder.metrics.read()[-1]["train"]["loss"], waits


def look_on(
    device: str, folder: RunFolder, images: np.ndarray, targets: np.ndarray | None = None
) -> dict[str, Any]:
    """Return logits and each layer's maps of images by that device, and the predicted classes."""
    os.environ["CIFARLAB_DEVICE"] = device
    predictor = Predictor.load(folder.weights("last"))
    logits = predictor.logits(images, 6).numpy()
    targets = logits.argmax(1) if targets is None else targets
    # also what speaks against a class, which a map of what speaks for it leaves out
    options = {"targets": targets, "relu_attributions": False}
    maps = class_activation_maps(predictor, images, list(map_shapes(predictor)), **options)
    return {"logits": logits, "maps": maps, "targets": targets}


def difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """Return the largest difference, relative to the largest value of all.

    Not of its own array: before a normalisation the sums of a map's gradients are zero but for
    rounding.
    """
    largest = max(float(np.abs(array).max()) for array in theirs.values())
    # np.max keeps a NaN, max does not
    return float(np.max([np.abs(ours[k] - theirs[k]).max() for k in theirs]) / max(largest, 1e-12))


def compare(name: str, data: str, device: str) -> dict[str, Any]:
    """Return the differences of one recipe, and its waits."""
    recipe = shorten(find(name), data)
    images = np.array(open_data(recipe.data).training.images[:64])
    with tempfile.TemporaryDirectory() as folder:
        plain, other = RunFolder(Path(folder) / "cpu"), RunFolder(Path(folder) / "device")
        (expected, _), (loss, waits) = (
            train_on("cpu", recipe, plain),
            train_on(device, recipe, other),
        )
        theirs = look_on("cpu", plain, images)
        ours = look_on(device, plain, images, theirs["targets"])
    return {
        "loss": abs(loss - expected) / abs(expected),
        "logits": difference({"": ours["logits"]}, {"": theirs["logits"]}),
        "maps": difference(ours["maps"], theirs["maps"]),
        "waits": waits,
    }


def misses_bar(row: dict[str, Any]) -> bool:
    """Return whether a difference is above its bar, or no number, or a step waited."""
    return bool(row["waits"]) or not all(row[what] <= bar for what, bar in BARS.items())


def main() -> int:
    """Measure, print, write the result; return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="digits")
    options = parser.parse_args()
    require_packages("comparing maps", "explain", "captum")
    rows, outliers = {}, []
    for name in options.recipes:
        row = rows[name] = compare(name, options.data, options.device)
        print(name, row, flush=True)
        if misses_bar(row):
            outliers.append(name)
    print("beyond the bar:", outliers or "none")
    payload = {"steps": STEPS, "data": options.data, "recipes": rows, "beyond_the_bar": outliers}
    print(write_result("gpu-agreement", options.device, payload))
    return 1 if outliers else 0


if __name__ == "__main__":
    sys.exit(main())
