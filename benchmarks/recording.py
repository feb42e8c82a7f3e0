"""What the record of weights, activations and gradients costs: its seconds over training's.

    python benchmarks/recording.py [RECIPE=DATA ...] [--epochs 2] [--share 1]

Each recipe is trained once with the record, whose own time is taken apart: everything that the
callback does, writing included. It is set beside the seconds of training in the run's result. The
line before the first step is counted too, though a run has one only. A share of the training images
makes a dearer record than all of them: weights are counted as often for shorter epochs. Bar: 0.01
for data of CIFAR-10's size.
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

USUAL, BAR = ("quickstart=digits", "speed/94=cifar10"), 0.01


class Timed(TensorStats):
    """The recorder with a clock of its own."""

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


def measured(name: str, data: str, epochs: int, share: float) -> dict[str, Any]:
    """Seconds and bytes of one short run's record."""
    changes = {"data.source": data, "data.train_subset_fraction": share, "evaluation.test": False}
    recipe = change(find(name), {**changes, "training.duration": f"{epochs} epochs"})
    with tempfile.TemporaryDirectory() as place:
        folder, recorder = RunFolder(Path(place) / "run"), Timed()
        result = train(recipe, folder, callbacks=[recorder])
        return {
            "data": result["data"],
            "epochs": epochs,
            "share_of_data": share,
            "images": folder.tensor_stats.read()[0]["images"],
            "record_seconds": recorder.seconds,
            "train_seconds": result["cost"]["train_seconds"],
            "share": sum(recorder.seconds) / result["cost"]["train_seconds"],
            "bytes_per_epoch": folder.tensor_stats.path.stat().st_size // (epochs + 1),
        }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=USUAL, help="RECIPE=DATA")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0, help="of the training images")
    asked = parser.parse_args()
    found = {}
    for words in asked.recipes:
        name, _, data = words.partition("=")
        found[words] = measured(name, data or "cifar10", asked.epochs, asked.share)
        told = found[words]
        print(
            f"{words}: {100 * told['share']:.2f} % of {told['train_seconds']:.1f} s of training "
            f"(bar {100 * BAR:g} %), {told['bytes_per_epoch']:,} bytes per epoch"
        )
    print(write_result("recording", choose_compute().device.type, {"n": 1, "recipes": found}))


if __name__ == "__main__":
    main()
