"""What searches and studies cost beside their training.

    CIFARLAB_DATA=DATA python benchmarks/overhead.py [--repeats 5] [--trials 30] [--seconds 30]
        [--ways search-processes search-ray study-processes study-ray]

Real training of the recipe quickstart, two trials at a time of one thread each, as a user starts
it: with the command line; through Ray on a cluster that this script starts before the command.
After how many seconds of the command the first step is taken, repeats of short ones on the embedded
digits; then so many trials of about so many seconds on a part of CIFAR-10, whose epochs take some
seconds: which part of the command's time was not spent in training and validation, and how much of
that lies before the first step and after the last run's end. Between them are the checkpoints, one
an epoch, and at the end one worker may be idle while the other trains the last. Bars: 5 % at 30
trials of 30 s; the first step within 5 s of the command with processes, 10 s through Ray. With
``--repeats 0`` or ``--trials 0`` only the other half.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from _results import summary, write_result
from _searching import SMALL, cluster_address, start_command

JOBS = 2
Overrides = dict[str, Any]
WAYS = [f"{kind}-{where}" for kind in ("search", "study") for where in ("processes", "ray")]
SHORT = {**SMALL["overrides"], "evaluation.test": False}
LONG = {
    "data.source": "cifar10",
    "data.val_fraction": 0.02,
    "data.train_subset_fraction": 0.1,
    "evaluation.test": False,
    "training.precision": "float32",
}


def main() -> None:
    """Measure each way, print it, write its result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    for way in options.ways:
        kind, _, where = way.partition("-")
        with cluster_address(where, JOBS) as address, tempfile.TemporaryDirectory() as name:
            words = ["--cluster", address] if address else []
            payload = measure(Path(name), kind, words, options)
        print(way, payload)
        for what, values in payload.items():
            print(f"written to {write_result(f'{what}-{way}', 'cpu', values)}")


def measure(
    directory: Path, kind: str, words: list[str], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Return the seconds to the first step, and the overhead of many trials."""
    result: dict[str, dict[str, Any]] = {}
    short = [
        run(directory / f"start-{n}", kind, words, SHORT, JOBS, 1) for n in range(options.repeats)
    ]
    if options.repeats:
        result["start"] = {"jobs": JOBS, "seconds": summary([row["start"] for row in short])}
    if options.trials:
        probe = run(directory / "probe", kind, words, LONG, JOBS, 2)
        epochs = max(1, round(options.seconds * 2 * JOBS / probe["training"]))
        row = run(directory / "many", kind, words, LONG, options.trials, epochs)
        outside = row["seconds"] - row["training"] / JOBS
        between = (outside - row["start"] - row["end"]) * JOBS
        result["overhead"] = {
            "trials": options.trials,
            "jobs": JOBS,
            "epochs_per_trial": epochs,
            "seconds_per_trial": row["training"] / options.trials,
            "seconds": row["seconds"],
            "before_first_step": row["start"],
            "after_last_run": row["end"],
            "one_worker_idle": row["idle"],
            "per_trial_between": (between - row["idle"]) / options.trials,
            "overhead_seconds": outside,
            "overhead_fraction": outside / row["seconds"],
        }
    return result


def run(
    directory: Path, kind: str, words: list[str], overrides: Overrides, trials: int, epochs: int
) -> dict[str, float]:
    """Search or compare to the end; seconds of the command, of training, of start and end."""
    directory.mkdir()
    file = write_experiment(directory, kind, overrides, trials, epochs)
    began, wall = time.perf_counter(), time.time()
    process = start_command(directory, kind, file.name, "--jobs", str(JOBS), *words)
    first: float | None = None
    while process.poll() is None:
        if first is None:
            first = first_step(directory)
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    if process.returncode or first is None:
        raise SystemExit(f"the {kind} ended with exit code {process.returncode}")
    costs = [cost for path in directory.rglob("metrics.jsonl") for cost in read_costs(path)]
    *_, before, last = sorted(path.stat().st_mtime for path in directory.rglob("result.json"))
    return {
        "seconds": seconds,
        "training": sum(costs),
        "start": first - wall,
        "end": wall + seconds - last,
        "idle": last - before,
    }


def write_experiment(
    directory: Path, kind: str, overrides: Overrides, trials: int, epochs: int
) -> Path:
    """Write a search of a learning rate, or a study of one row over seeds."""
    length = f"{epochs} epochs"
    content: dict[str, Any] = {
        "recipe": "quickstart",
        "overrides": overrides,
        "trials": trials,
        "max_epochs": length,
        "scheduler": {"kind": "none"},
        "space": {"optimizer.lr": {"kind": "loguniform", "low": 1e-3, "high": 0.1}},
    }
    if kind == "study":
        settings = {"training.duration": length, **overrides}
        rows = [
            {
                "name": f"{lr:g}",
                "recipe": "quickstart",
                "overrides": {"optimizer.lr": lr} | settings,
            }
            for lr in (0.01, 0.05)
        ]
        content = {"about": "cost", "rows": rows, "n_seeds": max(1, trials // len(rows))}
    file = directory / "cost.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")  # which is YAML, without aliases
    return file


def first_step(directory: Path) -> float | None:
    """Return when the first run that has an epoch took its first step; None before."""
    for path in directory.rglob("metrics.jsonl"):
        if costs := read_costs(path):
            return path.stat().st_mtime - costs[0]
    return None


def read_costs(metrics: Path) -> list[float]:
    """Return the seconds of each epoch's training and validation."""
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    costs = [json.loads(line)["cost"] for line in lines if line.endswith("\n")]
    return [cost["train_seconds"] + cost["evaluate_seconds"] for cost in costs]


if __name__ == "__main__":
    main()
