"""Whether what cifarlab says before a run, and after a break, holds on this device.

    python benchmarks/promises.py [--device cuda] [--steps 200] [RECIPE ...]

Each recipe, of so many steps on the digits at 32 pixels: seconds and memory as forecast, and as
trained; seconds of the steps that are tried before the first one; images/s of class-activation
maps. It is then trained again, interrupted half-way and resumed: the largest difference of a
weight. The first recipe, with group normalisation, is trained with ``micro_batch_size: auto``, on
CUDA within 0.6 of the memory that it took: which size was chosen, and its loss beside that of whole
batches.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import write_result
from safetensors.torch import load_file

from cifarlab.data.opening import open_data
from cifarlab.explain.maps import class_activation_maps
from cifarlab.inference.predictor import Predictor
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CifarlabError, Interrupted
from cifarlab.training.callback import Callback
from cifarlab.training.forecast import forecast
from cifarlab.training.run import Run
from cifarlab.training.train import train

RECIPES, NORM = ("resnet18", "speed/94"), {"model.norm.kind": "group"}
FORECAST_TIME, MEMORY_FRACTION, N_MAPS = 4.0, 0.6, 200
IMAGES = {"channels": "rgb", "size": 32, "resize_mode": "stretch"}


class StopHalfWay(Callback):
    """Asks the run to stop after half of its steps."""

    def on_step_end(self, run: Run, images: int) -> None:
        """Stop."""
        if run.state.step == run.plan.steps // 2:
            run.stop.ask("signal", 2)


def shorten(name: str, steps: int) -> Recipe:
    """Return the recipe with so many steps on the digits."""
    changes = {f"data.images.{key}": value for key, value in IMAGES.items()}
    length = {"data.source": "digits", "training.duration": f"{steps} steps"}
    return change(find(name), changes | length)


def compare_with_forecast(recipe: Recipe, folder: RunFolder) -> dict[str, Any]:
    """Return what was forecast, and what a run took."""
    expected = forecast(recipe, FORECAST_TIME)
    cost = train(recipe, folder, callbacks=[], command="benchmark")["cost"]
    predictor = Predictor.load(folder.weights("last"))
    images = np.array(open_data(recipe.data).training.images[:N_MAPS])
    class_activation_maps(predictor, images[:2])
    start = time.perf_counter()
    class_activation_maps(predictor, images)
    maps_per_second = len(images) / (time.perf_counter() - start)
    return {"forecast": expected._asdict(), "cost": cost, "maps_per_second": maps_per_second}


def resume_half_way(recipe: Recipe, uninterrupted: RunFolder, folder: RunFolder) -> float:
    """Return the largest difference of a weight from those of the uninterrupted run."""
    try:
        train(recipe, folder, callbacks=[StopHalfWay()], command="benchmark")
    except Interrupted:
        train(recipe, folder, callbacks=[], resume=True, command="benchmark")
    ours, theirs = (load_file(run.weights("last")) for run in (folder, uninterrupted))
    return max(float((ours[k].double() - theirs[k].double()).abs().max()) for k in theirs)


def choose_micro_batches(recipe: Recipe, device: str, parent: Path) -> dict[str, Any]:
    """Return the size that auto came to in a part of the memory, and both losses."""
    plain, folder = RunFolder(parent / "plain"), RunFolder(parent / "auto")
    peak = train(recipe, plain, callbacks=[], command="benchmark")["cost"]["peak_memory_bytes"]
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(MEMORY_FRACTION * peak / total)
    automatic = change(recipe, {"training.micro_batch_size": "auto"})
    try:
        train(automatic, folder, callbacks=[], command="benchmark")
    except CifarlabError as error:
        return {"peak_memory": peak, "error": str(error)}
    finally:
        if device.startswith("cuda"):
            torch.cuda.set_per_process_memory_fraction(1.0)
    losses = [run.metrics.read()[-1]["train"]["loss"] for run in (plain, folder)]
    size = folder.provenance().get("micro_batch_size")
    return {"peak_memory": peak, "micro_batch_size": size, "losses": losses}


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:3, mps")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = options.device
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for number, recipe_name in enumerate(options.recipes):
            recipe = shorten(recipe_name, options.steps)
            runs = RunFolder(Path(name) / f"{number}"), RunFolder(Path(name) / f"{number}-resumed")
            row = rows[recipe_name] = compare_with_forecast(recipe, runs[0])
            row["resumed"] = resume_half_way(recipe, *runs)
            print(recipe_name, row, flush=True)
        recipe = change(shorten(options.recipes[0], options.steps), NORM)
        automatic = choose_micro_batches(recipe, options.device, Path(name))
    print("auto", automatic)
    payload = {"steps": options.steps, "recipes": rows, "auto": automatic}
    print(write_result("promises", options.device, payload))


if __name__ == "__main__":
    main()
