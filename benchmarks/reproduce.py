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

from _reports import COSTS, PUBLISHED, SEARCHES, publish, publish_search, recipe_names, write_page
from _results import hardware

from cifarlab.experiments.study.outcomes import fingerprint_row
from cifarlab.recipes.catalog import find, usual_images
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import folder_name
from cifarlab.system.files import read_json, write_json

# patterns of recipes and how many seeds of each, the most telling per hour first
SEARCH = "search "
ORDER = (
    ("asha2021/classic", 5),
    (f"{SEARCH}asha2021/classic", 1),
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


def train_words(recipe: str, folder: Path, *changes: str) -> list[str]:
    """Return the words that train a recipe in a folder, or go on with it there."""
    resume = ["--resume"] if (folder / "recipe.yaml").exists() else []
    return ["train", recipe, *changes, "--run", str(folder), *resume]


class PlannedRun(NamedTuple):
    """One run of a recipe."""

    recipe: str
    seed: int

    @property
    def published(self) -> bool:
        """Whether its result lies in docs/reports/."""
        return (PUBLISHED / self.recipe / f"seed-{self.seed}" / "result.json").exists()

    def folder(self, runs: Path) -> Path:
        """Return its run folder below the folder of all runs."""
        return runs / self.recipe / f"seed-{self.seed}"

    def commands(self, folder: Path, *changes: str) -> Iterator[list[str]]:
        """Yield the words of its command: train it, or go on with it."""
        yield train_words(self.recipe, folder, f"seed={self.seed}", *changes)

    def publish(self, folder: Path) -> None:
        """Copy what is published of it."""
        publish(folder, self.recipe, self.seed)


class PlannedSearch(NamedTuple):
    """A shipped search; its best trial is trained once more, and tested."""

    name: str

    @property
    def published(self) -> bool:
        """Whether its table lies in docs/reports/searches/."""
        return (SEARCHES / self.name / "search.json").exists()

    def folder(self, runs: Path) -> Path:
        """Return its folder: where ``cifarlab search`` puts it, in that working folder."""
        return runs / "runs" / "searches" / folder_name(self.name, 1.0, None)

    def commands(self, folder: Path) -> Iterator[list[str]]:
        """Yield the words of its two commands, each of which goes on where it was."""
        yield ["search", self.name, *["--resume"] * (folder / "search.json").exists()]
        yield train_words(str(folder / "best.yaml"), folder / "best")

    def publish(self, folder: Path) -> None:
        """Copy what is published of it."""
        publish_search(folder, self.name)


class Runner:
    """Trains what is planned, a few at a time; all that it starts is stopped with it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.runs.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {"CIFARLAB_DEVICE": options.device}
        if options.device == "cpu":
            threads = max(1, (os.cpu_count() or 1) // options.jobs)
            self.environment.setdefault("OMP_NUM_THREADS", str(threads))
        self.deadline = time.monotonic() + 3600 * options.hours
        self.stopped = threading.Event()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._publishing = threading.Lock()
        self._measuring = threading.Lock()

    def call(self, words: list[str], log: Path) -> int:
        """Run a command to its end, or to the deadline, at low priority; return its exit code."""
        log.parent.mkdir(parents=True, exist_ok=True)
        words = ["nice", "-n", "19", sys.executable, "-m", "cifarlab", *words]
        with log.open("ab") as file:
            process = subprocess.Popen(
                words, stdout=file, stderr=file, env=self.environment, cwd=self.folder
            )
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
        with self._measuring:
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
            code = self.call(train_words(recipe, folder, *changes), log)
            result = RunFolder(folder).result()
            if code or result is None:
                raise SystemExit(f"{recipe}: its first steps failed\n{log.read_text()}")
            return float(result["cost"]["train_seconds"]) / STEPS

    def carry_out(self, planned: PlannedRun | PlannedSearch) -> None:
        """Train one run, or search, to its end and publish it, unless the time is over."""
        if self.stopped.is_set() or time.monotonic() > self.deadline:
            return
        is_run = isinstance(planned, PlannedRun)
        about = f"about {self.measure_hours(planned.recipe):.1f} hours" if is_run else "begun"
        say(planned, about)
        folder = planned.folder(self.folder)
        for words in planned.commands(folder):
            if code := self.call(words, folder.with_suffix(".log")):
                say(planned, f"ended with {code}")
                return
        say(planned, "done")
        with self._publishing:
            planned.publish(folder)
            write_page()

    def stop(self, *_: object) -> None:
        """End all runs, each after a checkpoint."""
        self.stopped.set()


def say(planned: PlannedRun | PlannedSearch, text: str) -> None:
    """Print the time, what it is about, and the text."""
    print(time.strftime("%H:%M"), *planned, text, flush=True)


def n_steps(recipe: str) -> int:
    """Return the optimizer steps of a whole run, as far as its data's source knows."""
    config = find(recipe)
    per_epoch = -(-usual_images(config) // config.training.batch_size)
    return config.training.duration.in_steps(per_epoch, 0)


def distinct_recipes() -> list[str]:
    """Return the reports' recipes, one name for those that are the same one."""
    names = {fingerprint_row(find(name)): name for name in reversed(recipe_names())}
    return list(names.values())[::-1]


def plan(runner: Runner, only: str) -> Iterator[list[PlannedRun | PlannedSearch]]:
    """Yield what is not published yet: ORDER's rows; after them the others, the cheapest first."""
    names = [name for name in distinct_recipes() if fnmatch.fnmatchcase(name, only)]
    order = ORDER if runner.options.device == "cpu" else ORDER_ON_GPU
    planned: dict[PlannedRun | PlannedSearch, None] = {}
    for pattern, n_seeds in order:
        if pattern.startswith(SEARCH):
            if fnmatch.fnmatchcase(pattern, only):
                planned[PlannedSearch(pattern.removeprefix(SEARCH))] = None
            continue
        for name in fnmatch.filter(names, pattern):
            planned.update((PlannedRun(name, seed), None) for seed in range(n_seeds))
    yield [run for run in planned if not run.published]
    rest = [PlannedRun(name, 0) for name in names if PlannedRun(name, 0) not in planned]
    rest = [run for run in rest if not run.published]
    yield sorted(rest, key=lambda run: runner.measure_hours(run.recipe))


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
        for batch in runs:
            for future in [pool.submit(runner.carry_out, run) for run in batch]:
                future.result()
    write_page()


if __name__ == "__main__":
    main()
