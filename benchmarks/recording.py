"""What the record of weights, activations and gradients costs: its seconds over training's.

    python benchmarks/recording.py [RECIPE=DATA ...] [--epochs 2] [--fraction 1]

Each recipe is trained once with the record, all of whose work is timed, writing included, and
divided by the seconds of training in the run's result. The line before the first step counts too,
though a run has only one. With a fraction of the training images the record costs relatively more:
weights are read as often, and epochs are shorter. Bar: 0.01 for data of CIFAR-10's size.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _results import write_result

from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import choose_compute
from cifarlab.training.run import Run
from cifarlab.training.tensor_stats import TensorStats
from cifarlab.training.train import train

DEFAULT_RECIPES, BAR = ("quickstart=digits", "speed/94=cifar10"), 0.01


class TimedTensorStats(TensorStats):
    """The callback, timed."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_start(self, run: Run) -> None:
        """As the recorder, timed."""
        self._timed(super().on_train_start, run)

    def on_validation_end(self, run: Run) -> None:
        """As the recorder, timed."""
        self._timed(super().on_validation_end, run)

    def _timed(self, work: Callable[[Run], None], run: Run) -> None:
        run.compute.synchronize()
        begun = time.perf_counter()
        work(run)
        run.compute.synchronize()
        self.seconds.append(time.perf_counter() - begun)


def measure(name: str, data: str, epochs: int, fraction: float) -> dict[str, Any]:
    """Return seconds and bytes of the record of a short run."""
    subset = {"data.source": data, "data.train_subset_fraction": fraction}
    changes = {**subset, "evaluation.test": False}
    recipe = change(find(name), {**changes, "training.duration": f"{epochs} epochs"})
    with tempfile.TemporaryDirectory() as parent:
        folder, recorder = RunFolder(Path(parent) / "run"), TimedTensorStats()
        result = train(recipe, folder, callbacks=[recorder])
        return {
            "data": result["data"],
            "epochs": epochs,
            "train_subset_fraction": fraction,
            "images": folder.tensor_stats.read()[0]["images"],
            "record_seconds": recorder.seconds,
            "train_seconds": result["cost"]["train_seconds"],
            "fraction_of_training": sum(recorder.seconds) / result["cost"]["train_seconds"],
            "bytes_per_epoch": folder.tensor_stats.path.stat().st_size // (epochs + 1),
        }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=DEFAULT_RECIPES, help="RECIPE=DATA")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the training images")
    options = parser.parse_args()
    costs = {}
    for words in options.recipes:
        name, _, data = words.partition("=")
        cost = costs[words] = measure(name, data or "cifar10", options.epochs, options.fraction)
        percent, seconds = 100 * cost["fraction_of_training"], cost["train_seconds"]
        print(
            f"{words}: {percent:.2f} % of {seconds:.1f} s of training (bar {100 * BAR:g} %), "
            f"{cost['bytes_per_epoch']:,} bytes per epoch"
        )
    print(write_result("recording", choose_compute().device.type, {"n": 1, "recipes": costs}))


if __name__ == "__main__":
    main()
