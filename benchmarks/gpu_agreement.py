"""Whether a GPU computes what the processor does, and whether any step waits for it.

    python benchmarks/gpu_agreement.py [--device cuda] [--data digits] [RECIPE ...]

Each recipe is trained in float32 for 8 steps of 32 images on the processor, then on the device: the
losses' relative difference, and where PyTorch says that a step of the second run waited
(``torch.cuda.set_sync_debug_mode``). Then both predict, and compute class-activation maps, with the
first run's weights: the largest differences, relative to the largest value. Bar: 0.01 for losses,
0.001 for logits, no waits. tests/device/ has a mock device for all this.
"""

import argparse
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import write_result

from cifarlab.data.opening import open_data
from cifarlab.explain.maps import class_activation_maps
from cifarlab.inference.predictor import Predictor
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.train import train

# the networks, normalizations, optimizers, mixes and averages that are most used
RECIPES = ("speed/94", "speed/96", "resnet18", "asha2021/normaliser-free")
RECIPES += ("asha2021/mixup", "kth2022/norm-group", "kth2022/norm-instance", "kth2022/norm-layer")
RECIPES += ("kth2024/combined", "fudan/plateau", "fudan/resnet10-adadelta", "nyu2024/competition")
STEPS, IMAGES, LOSS_BAR, LOGITS_BAR = 8, 32, 0.01, 0.001


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


def look_on(device: str, folder: RunFolder, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return logits and maps of images by that device."""
    os.environ["CIFARLAB_DEVICE"] = device
    predictor = Predictor.load(folder.weights("last"))
    maps = class_activation_maps(predictor, images)
    return {"logits": predictor.logits(images, 6).numpy(), "maps": next(iter(maps.values()))}


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value."""
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12))


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
        theirs, ours = look_on("cpu", plain, images), look_on(device, plain, images)
    row = {"loss": abs(loss - expected) / abs(expected), "waits": waits}
    return row | {what: difference(ours[what], theirs[what]) for what in theirs}


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="digits")
    options = parser.parse_args()
    rows, outliers = {}, []
    for name in options.recipes:
        row = rows[name] = compare(name, options.data, options.device)
        print(name, row, flush=True)
        if row["loss"] > LOSS_BAR or row["logits"] > LOGITS_BAR or row["waits"]:
            outliers.append(name)
    print("beyond the bar:", outliers or "none")
    payload = {"steps": STEPS, "data": options.data, "recipes": rows, "beyond_the_bar": outliers}
    print(write_result("gpu-agreement", options.device, payload))


if __name__ == "__main__":
    main()
