"""The five reports' experiments at full length, in the order of what they teach per hour.

    CIFARLAB_DATA=DIR python benchmarks/reproduce.py [--hours H] [--only PATTERN] [--seeds N]
                                                     [--device cpu|cuda] [--jobs N] [--costs]

Each run goes on where it was after a stop or SIGKILL; SIGSTOP and SIGCONT pause all of them, and
hours are counted without pauses. What one run of a row costs is measured on its first steps before
it starts, and decides the order of the rows that ORDER does not name. A finished run is published
under docs/reports/ at once, and docs/reports.md is written anew. ``--costs`` measures the
costs of all rows and trains none.
"""

import argparse
import fnmatch
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from _reports import COSTS, PUBLISHED, publish, recipe_names, write_page
from _results import hardware

from cifarlab.experiments.study.outcomes import fingerprint_row
from cifarlab.recipes.catalog import find, usual_images
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.files import read_json, write_json

# patterns of recipes and how many seeds of each, the most telling per hour first
ORDER = (
    ("asha2021/classic", 5),
    ("kth2022/norm-*", 3),
    ("kth2022/combined-norm-*", 3),
    ("kth2024/baseline", 1),
    ("kth2024/dropout", 1),
    ("kth2024/exchanged", 1),
    ("kth2024/batch-norm-only", 1),
    ("kth2024/augmentation", 1),
    ("kth2024/dropout-only", 1),
    ("kth2024/weight-decay", 1),
    ("kth2022/all", 1),
    ("kth2024/exchanged-fast-statistics", 1),
    ("kth2024/baseline", 3),
    ("kth2024/dropout", 3),
    ("kth2024/exchanged", 3),
    ("kth2024/batch-norm-only", 3),
    ("kth2024/augmentation", 3),
    ("kth2024/dropout-only", 3),
    ("kth2024/weight-decay", 3),
    ("kth2024/combined", 1),
    ("kth2024/adamw", 1),
    ("kth2024/step-decay", 1),
    ("fudan/resnet10", 1),
    ("fudan/resnet24", 1),
    ("fudan/mixup", 1),
)
ORDER_ON_GPU = (
    ("fudan/mixup", 3),
    ("fudan/resnet24", 3),
    ("kth2022/resnet-deeper", 3),
    ("kth2022/resnet-cifar100", 3),
    ("nyu2024/resnet", 3),
    ("asha2021/resnet34-schedule", 3),
    ("kth2024/*", 1),
)
STEPS = 40  # of the runs that measure what a row costs
GRACE = 60  # seconds for a checkpoint after a stop


class PlannedRun(NamedTuple):
    """One run of a recipe."""

    recipe: str
    seed: int

    @property
    def published(self) -> bool:
        """Whether its result lies in docs/reports/."""
        return (PUBLISHED / self.recipe / f"seed-{self.seed}" / "result.json").exists()


class Runner:
    """Trains what is planned, a few at a time; all that it starts is stopped with it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.runs
        self.environment = os.environ | {"CIFARLAB_DEVICE": options.device}
        if options.device == "cpu":
            threads = max(1, (os.cpu_count() or 1) // options.jobs)
            self.environment.setdefault("OMP_NUM_THREADS", str(threads))
        self.deadline = time.monotonic() + 3600 * options.hours
        self.stopped = threading.Event()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._publishing = threading.Lock()

    def command(self, run: PlannedRun, folder: Path, *changes: str) -> list[str]:
        """Return what trains it, or goes on with it, at low priority."""
        words = ["nice", "-n", "19", sys.executable, "-m", "cifarlab", "train", run.recipe]
        words += [f"seed={run.seed}", *changes, "--run", str(folder)]
        return [*words, "--resume"] if (folder / "recipe.yaml").exists() else words

    def call(self, words: list[str], log: Path) -> int:
        """Run a command to its end, or to the deadline; return its exit code."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            process = subprocess.Popen(words, stdout=file, stderr=file, env=self.environment)
        self._processes.add(process)
        try:
            while process.poll() is None:
                if self.stopped.wait(1) or time.monotonic() > self.deadline:
                    process.send_signal(signal.SIGTERM)
                    return process.wait(GRACE)
            return process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            self._processes.discard(process)

    def measure_hours(self, recipe: str) -> float:
        """Return the hours of one whole run of a recipe here, from its first steps."""
        key = f"{hardware()['cpu']}, {self.options.device}, {self.options.jobs} at a time"
        costs = read_json(COSTS, "delete it") or {}
        known = costs.setdefault(key, {})
        if recipe not in known:
            known[recipe] = round(self._time_steps(recipe) * n_steps(recipe) / 3600, 3)
            write_json(COSTS, costs)
        return float(known[recipe])

    def _time_steps(self, recipe: str) -> float:
        """Return the seconds of a step, the first ones included."""
        with tempfile.TemporaryDirectory() as parent:
            folder, log = Path(parent) / "run", Path(parent) / "log"
            changes = (f"training.duration={STEPS} steps", "evaluation.test=false")
            code = self.call(self.command(PlannedRun(recipe, 0), folder, *changes), log)
            result = RunFolder(folder).result()
            if code or result is None:
                raise SystemExit(f"{recipe}: its first steps failed\n{log.read_text()}")
            return float(result["cost"]["train_seconds"]) / STEPS

    def train(self, run: PlannedRun) -> None:
        """Train one run to its end and publish it, unless the time is over."""
        if self.stopped.is_set() or time.monotonic() > self.deadline:
            return
        folder = self.folder / run.recipe / f"seed-{run.seed}"
        code = self.call(self.command(run, folder), folder.with_suffix(".log"))
        done = code == 0 and RunFolder(folder).finished
        how = "done" if done else f"ended with {code}"
        print(f"{time.strftime('%H:%M')} {run.recipe}, seed {run.seed}: {how}", flush=True)
        if done:
            with self._publishing:
                publish(folder, run.recipe, run.seed)
                write_page()

    def stop(self, *_: object) -> None:
        """End all runs, each after a checkpoint."""
        self.stopped.set()


def n_steps(recipe: str) -> int:
    """Return the optimizer steps of a whole run, as far as its data's source knows."""
    config = find(recipe)
    per_epoch = -(-usual_images(config) // config.training.batch_size)
    return config.training.duration.in_steps(per_epoch, 0)


def distinct_recipes() -> list[str]:
    """Return the reports' recipes, one name for those that are the same one."""
    names = {fingerprint_row(find(name)): name for name in reversed(recipe_names())}
    return list(names.values())[::-1]


def plan(runner: Runner, only: str) -> Iterator[PlannedRun]:
    """Yield what is not published yet: ORDER's rows, then all others, the cheapest first."""
    names = [name for name in distinct_recipes() if fnmatch.fnmatchcase(name, only)]
    order = ORDER if runner.options.device == "cpu" else ORDER_ON_GPU
    planned = dict.fromkeys(
        PlannedRun(name, seed)
        for pattern, n_seeds in order
        for name in fnmatch.filter(names, pattern)
        for seed in range(n_seeds)
    )
    yield from (run for run in planned if not run.published)
    rest = [PlannedRun(name, 0) for name in names if PlannedRun(name, 0) not in planned]
    rest = [run for run in rest if not run.published]
    yield from sorted(rest, key=lambda run: runner.measure_hours(run.recipe))


def main() -> None:
    """Train what there is time for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--hours", type=float, default=1e6, help="stop after so many; default: never"
    )
    parser.add_argument("--only", default="*", help="rows whose recipe matches a shell pattern")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs/reports"))
    parser.add_argument("--costs", action="store_true", help="measure what each row costs, no more")
    runner = Runner(parser.parse_args())
    signal.signal(signal.SIGTERM, runner.stop)
    signal.signal(signal.SIGINT, runner.stop)
    if runner.options.costs:
        for name in fnmatch.filter(distinct_recipes(), runner.options.only):
            print(f"{name}: {runner.measure_hours(name):.2f} hours", flush=True)
    with ThreadPoolExecutor(runner.options.jobs) as pool:
        runs = () if runner.options.costs else plan(runner, runner.options.only)
        for future in [pool.submit(runner.train, run) for run in runs]:
            future.result()
    write_page()


if __name__ == "__main__":
    main()
