"""One process against two: the same losses, and how fast.

    CIFARLAB_DATA=DATA python benchmarks/processes.py [--recipe resnet18]
        [--data cifar10] [--steps 50] [--repeats 5] [KEY=VALUE ...]

Trains the recipe in float32 for some steps, nothing held out, in one process with all cores, in two
with half of them each (gloo, under torchrun), and in one with half of the cores, which shows what
another number of threads changes by itself. They take turns. The loss curves are those of the last
repeat: the largest relative difference of a step's loss from the first way's; bar 1e-5 over 50
steps. Images/s are the batch over the median time of a step, the first five left out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from _results import write_result

from cifarlab.training.callback import Callback

SKIPPED, BAR = 5, 1e-5
CORES = len(os.sched_getaffinity(0))
WAYS = {  # processes, threads of each
    "one process": (1, CORES),
    "two processes": (2, max(1, CORES // 2)),
    "one process, half of the threads": (1, max(1, CORES // 2)),
}


class StepRecorder(Callback):
    """A callback that notes when each step ended, and its loss."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []
        self.images = 0
        self._before = (0.0, 0)

    def on_step_end(self, run: Any, images: int) -> None:
        """Read the sums of the epoch: on a CPU nothing waits for that."""
        self.ends.append(time.perf_counter())
        totals, (loss, count) = run.state.totals, self._before
        self._before = (float(totals.loss), totals.n_images)
        self.losses.append((self._before[0] - loss) / (totals.n_images - count))
        self.images = max(self.images, images)

    def on_epoch_end(self, run: Any, line: dict[str, Any]) -> None:
        """Sums begin anew."""
        self._before = (0.0, 0)


def work(arguments: argparse.Namespace) -> None:
    """Train in this process, one of several or alone; the main one writes its record."""
    from cifarlab.recipes.catalog import find
    from cifarlab.recipes.text import apply_overrides
    from cifarlab.run_folder.folder import RunFolder
    from cifarlab.system.processes import init_distributed
    from cifarlab.training.train import train

    length = [f"training.duration={arguments.steps} steps", "training.precision=float32"]
    closed = ["data.val_fraction=0", "evaluation.checkpoint=last", "evaluation.test=false"]
    recipe = apply_overrides(find(arguments.recipe), [*length, *closed, *arguments.settings])
    recorder = StepRecorder()
    with init_distributed() as processes:
        folder = RunFolder(Path(arguments.out).with_suffix(".run"))
        train(recipe, folder, callbacks=[recorder], processes=processes)
    if processes.is_main_process:
        record = {"losses": recorder.losses, "ends": recorder.ends, "images": recorder.images}
        Path(arguments.out).write_text(json.dumps(record), encoding="utf-8")


def measure(arguments: argparse.Namespace, out: Path, count: int, threads: int) -> dict[str, Any]:
    """Train in ``count`` new processes; return the record of the main one."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    data = [f"data.source={arguments.data}"] if arguments.data else []
    words = [
        *(launcher if count > 1 else []),
        __file__,
        *arguments.settings,
        *data,
        *("--recipe", arguments.recipe, "--steps", str(arguments.steps), "--out", str(out)),
    ]
    on_cpu = {"CIFARLAB_DEVICE": "cpu", "OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, *words], check=True, env=os.environ | on_cpu)
    record: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return record


def images_per_second(record: dict[str, Any]) -> float:
    """Return the speed by the median time of a step."""
    times = [end - start for start, end in pairwise(record["ends"][SKIPPED:])]
    return float(record["images"] / statistics.median(times))


def difference(losses: list[float], others: list[float]) -> float:
    """Return the largest relative difference of two loss curves."""
    return max(abs(a - b) / b for a, b in zip(losses, others, strict=True))


def main() -> None:
    """Measure, print, write the result; or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--recipe", default="resnet18")
    parser.add_argument("--data")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="what is written by one of the processes")
    arguments = parser.parse_args()
    if arguments.out:
        work(arguments)
        return
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    last: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats):
            for number, (way, (count, threads)) in enumerate(WAYS.items()):
                out = Path(folder) / f"{repeat}-{number}"
                last[way] = measure(arguments, out, count, threads)
                speeds[way].append(images_per_second(last[way]))
                print(f"{way}: {speeds[way][-1]:.1f} images/s")
    first, *others = WAYS
    differences = {way: difference(last[way]["losses"], last[first]["losses"]) for way in others}
    medians = {way: statistics.median(values) for way, values in speeds.items()}
    ratio = medians["two processes"] / medians[first]
    print(f"two processes against one: {ratio:.3f} of the images/s; largest relative difference of")
    print(f"a step's loss: {differences} (bar {BAR})")
    payload = {
        "n": arguments.repeats,
        "recipe": arguments.recipe,
        "settings": [*arguments.settings, f"--data {arguments.data}"],
        "steps": arguments.steps,
        "ways": {way: {"processes": c, "threads": t} for way, (c, t) in WAYS.items()},
        "images_per_second": speeds,
        "median": medians,
        "ratio": ratio,
        "largest_relative_difference": differences,
        "losses": {way: last[way]["losses"] for way in WAYS},
    }
    print(write_result(f"processes-{arguments.recipe}", "cpu", payload))


if __name__ == "__main__":
    main()
