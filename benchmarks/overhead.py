"""What searches and studies cost beside their training.

    python benchmarks/overhead.py [--ways search-processes search-ray study-processes study-ray]
        [--repeats 5] [--trials 30] [--seconds 30]

Real training on the embedded digits, two trials at a time of one thread each, as a user starts it:
with the command line. Through Ray on a cluster that this script starts before the command. After
how many seconds of the command the first step is taken, repeats of short ones; then so many trials
of about so many seconds: which part of the command's time was not spent in training and validation,
and how much of that lies before the first step and after the last run's end. Bars: 5 % at 30 trials
of 30 s; the first step within 5 s of the command with processes, 10 s through Ray. With
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
WAYS = [f"{kind}-{where}" for kind in ("search", "study") for where in ("processes", "ray")]
# epochs of about a second
NETWORK = {"model.stem_width": 64, "model.channels": [64, 128, 256], "evaluation.test": False}
OVERRIDES = {**SMALL["overrides"], **NETWORK}


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
        run(directory / f"start-{n}", kind, words, JOBS, 1) for n in range(max(1, options.repeats))
    ]
    if options.repeats:
        result["start"] = {"jobs": JOBS, "seconds": summary([row["start"] for row in short])}
    if options.trials:
        probe = run(directory / "probe", kind, words, JOBS, 4)
        epochs = max(1, round(options.seconds * 4 * JOBS / probe["training"]))
        row = run(directory / "many", kind, words, options.trials, epochs)
        outside = row["seconds"] - row["training"] / JOBS
        result["overhead"] = {
            "trials": options.trials,
            "jobs": JOBS,
            "epochs_per_trial": epochs,
            "seconds_per_trial": row["training"] / options.trials,
            "seconds": row["seconds"],
            "before_first_step": row["start"],
            "after_last_run": row["end"],
            "per_trial_between": (outside - row["start"] - row["end"]) * JOBS / options.trials,
            "overhead_seconds": outside,
            "overhead_fraction": outside / row["seconds"],
        }
    return result


def run(directory: Path, kind: str, words: list[str], trials: int, epochs: int) -> dict[str, float]:
    """Search or compare to the end; seconds of the command, of training, of start and end."""
    directory.mkdir()
    file = write_experiment(directory, kind, trials, epochs)
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
    last = max(path.stat().st_mtime for path in directory.rglob("result.json"))
    return {
        "seconds": seconds,
        "training": sum(costs),
        "start": first - wall,
        "end": wall + seconds - last,
    }


def write_experiment(directory: Path, kind: str, trials: int, epochs: int) -> Path:
    """Write a search of a learning rate, or a study of one row over seeds."""
    length = f"{epochs} epochs"
    content: dict[str, Any] = {
        "recipe": "quickstart",
        "overrides": OVERRIDES,
        "trials": trials,
        "max_epochs": length,
        "scheduler": {"kind": "none"},
        "space": {"optimizer.lr": {"kind": "loguniform", "low": 1e-3, "high": 0.1}},
    }
    if kind == "study":
        settings = {"training.duration": length, **OVERRIDES}
        rows = [
            {"name": f"{lr:g}", "recipe": "quickstart", "overrides": {"optimizer.lr": lr} | settings}
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
