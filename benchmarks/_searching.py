"""Searches as a user starts them, in a process of their own, and what they leave behind."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.worker import Driver, Job, JobResult
from cifarlab.run_folder.folder import RunFolder

LONGEST = 27  # epochs of a simulated trial

SMALL: dict[str, Any] = {
    "recipe": "quickstart",
    "overrides": {"data.val_fraction": 0.3, "training.precision": "float32"},
    "space": {
        "optimizer.kind": {"kind": "choice", "values": ["sgd", "adam"]},
        "optimizer.lr": {"kind": "loguniform", "low": 1e-4, "high": 1.0},
        "optimizer.weight_decay": {"kind": "loguniform", "low": 1e-5, "high": 0.1},
        "model.head_dropout": {"kind": "choice", "values": [0.0, 0.3, 0.6]},
        "training.batch_size": {"kind": "choice", "values": [32, 128, 512]},
    },
}


def simulate(job: Job, driver: Driver) -> JobResult:
    """Train nothing: a trial whose score rises towards a limit that its number decides."""
    number = int(job.name.rpartition("-")[2])
    limit = 0.5 + (number * 7919 % 10007) / 20014
    run = RunFolder(job.path)
    run.write_recipe(job.recipe)
    run.write_provenance({"data": {"name": "simulated"}})
    for epoch in range(1, LONGEST + 1):
        score = limit * (1 - 0.5**epoch)
        point = {"accuracy": score, "loss": 1 - score}
        line = {"epoch": epoch, "train": point, "val": point}
        run.metrics.append(line)
        driver.send(line)
        if driver.recv() is not True:
            return JobResult("stopped")
    return JobResult("planned")


def write_search(directory: Path, name: str, **settings: Any) -> Path:
    """A search's file: the small one on the embedded digits with other settings."""
    file = directory / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**SMALL, **settings}), encoding="utf-8")
    return file


def start(file: Path, *words: str) -> subprocess.Popen[bytes]:
    """Begin a search with the command line, in its file's folder; one thread for each trial."""
    return start_command(file.parent, "search", file.name, *words)


def start_command(directory: Path, *words: str) -> subprocess.Popen[bytes]:
    """Begin a command in a folder; one thread for each trial."""
    return subprocess.Popen(
        [sys.executable, "-m", "cifarlab", *words],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "CIFARLAB_DEVICE": "cpu", "OMP_NUM_THREADS": "1"},
    )


def run(file: Path, *words: str) -> float:
    """Search to the end; seconds that the command took."""
    start_time = time.perf_counter()
    if code := start(file, *words).wait():
        sys.exit(f"the search ended with exit code {code}")
    return time.perf_counter() - start_time


@contextmanager
def cluster_address(where: str, cpus: int) -> Iterator[str | None]:
    """Yield the address of a Ray cluster of one machine, this one; None for ``processes``."""
    if where == "processes":
        yield None
        return
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus})
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def folder(file: Path) -> SearchFolder:
    """Where the search of that file lies."""
    return SearchFolder(file.parent / "runs" / "searches" / file.stem)


def table(file: Path) -> list[dict[str, Any]]:
    """The rows of a search that has ended, the best first."""
    return list(folder(file).content()["results"]["table"])


def training_seconds(file: Path) -> float:
    """Seconds that all trials spent in training and validation."""
    total = 0.0
    for metrics in folder(file).path.glob("trial-*/metrics.jsonl"):
        for line in metrics.read_text(encoding="utf-8").splitlines():
            cost = json.loads(line)["cost"]
            total += cost["train_seconds"] + cost["evaluate_seconds"]
    return total


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> float:
    """Wait until ``what`` is true; the seconds. Ends the program if the search ends before."""
    start_time = time.perf_counter()
    while not what():
        if process.poll() is not None:
            sys.exit("the search ended before it should: start again on a quieter machine")
        time.sleep(0.02)
    return time.perf_counter() - start_time


def epochs(file: Path) -> int:
    """Epochs that all trials have trained so far."""
    metrics_files = folder(file).path.glob("trial-*/metrics.jsonl")
    return sum(metrics.read_bytes().count(b"\n") for metrics in metrics_files)
