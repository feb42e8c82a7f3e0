"""Does a run that is killed many times end as one that is not?

    python benchmarks/kill.py

Trains quickstart, lengthened to 60 epochs, once without interruption and once under 20 SIGKILLs
at random (seeded) moments of its epochs, resuming each time with the command line; kills while a
run prepares, writes or finishes are in tests/resume. Bar: weights, optimizer state, predictions,
metrics log and result are the same to the last bit, whatever a clock measured apart.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _results import write_result
from safetensors import safe_open
from safetensors.torch import save

from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost

KILLS = 20
EPOCHS = 60
SETTINGS = (f"training.duration={EPOCHS} epochs",)


def main() -> None:
    """Train both, print each kill and what is equal at the end, write the result."""
    with tempfile.TemporaryDirectory() as parent:
        reference = RunFolder(Path(parent) / "uninterrupted")
        killed = RunFolder(Path(parent) / "killed")
        end(start(reference))
        cost = (reference.result() or {})["cost"]
        seconds = cost["train_seconds"] + cost["evaluate_seconds"]
        print(f"uninterrupted: {seconds:.1f} s of training and validation")
        kills = kill_often(killed, seconds / EPOCHS)
        end(start(killed))
        equal = compare(reference, killed)
    for what, same in equal.items():
        print(f"{what:28} {'identical' if same else 'DIFFERENT'}")
    payload = {"recipe": "quickstart", "settings": SETTINGS, "kills": kills, "identical": equal}
    print(f"written to {write_result('kill', 'cpu', payload)}")
    sys.exit(0 if all(equal.values()) else 1)


def start(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Begin the run or go on with it; returns when its training is about to start."""
    words = ["--run", str(folder.path), *(["--resume"] if folder.exists else [])]
    before = starts(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "cifarlab", "train", "quickstart", *SETTINGS, *words],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "CIFARLAB_DEVICE": "cpu"},
    )
    while starts(folder) == before and process.poll() is None:
        time.sleep(0.005)
    return process


def starts(folder: RunFolder) -> int:
    """How often the run was begun or gone on with."""
    return len(folder.provenance().get("starts", []))


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a run that nobody kills."""
    if process.wait():
        sys.exit(f"the run ended with exit code {process.returncode}")


def kill_often(folder: RunFolder, epoch: float) -> list[dict[str, Any]]:
    """Start and kill the run, spread over its length; an ``epoch`` takes that many seconds.

    Each kill waits for its number of epochs, then for a random time of up to one epoch.
    """
    draws = random.Random(0)
    kills: list[dict[str, Any]] = []
    for number in range(KILLS):
        process = start(folder)
        while process.poll() is None and epochs(folder) < number * EPOCHS // (KILLS + 1):
            time.sleep(0.002)
        time.sleep(draws.uniform(0, epoch))
        process.kill()
        if process.wait() >= 0:
            sys.exit("the run ended before it was killed: start again on a quieter machine")
        kill = {"step": saved_step(folder), "metrics_lines": epochs(folder)}
        print(f"kill {number + 1:2}: saved step {kill['step']:4}, {kill['metrics_lines']:2} epochs")
        kills.append(kill)
    return kills


def epochs(folder: RunFolder) -> int:
    """How many epochs the metrics log has."""
    return len(folder.metrics.read())


def saved_step(folder: RunFolder) -> int:
    """The step of the last checkpoint, 0 without one."""
    return int(state(folder)[1]["step"]) if folder.weights("last.state").exists() else 0


def state(folder: RunFolder) -> tuple[bytes, dict[str, Any]]:
    """The tensors and counters of the last checkpoint, without what a clock measured."""
    with safe_open(folder.weights("last.state"), "pt") as file:
        counters = json.loads(file.metadata()["cifarlab"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    counters.pop("seconds")
    return save(tensors), counters


def compare(run: RunFolder, other: RunFolder) -> dict[str, bool]:
    """Return which parts of two runs are the same to the last bit."""
    files = ["checkpoints/last", "checkpoints/best", "predictions/val", "predictions/test"]
    paths = [f"{file}.safetensors" for file in files]
    return {
        **{p: (run.path / p).read_bytes() == (other.path / p).read_bytes() for p in paths},
        "optimizer state": state(run) == state(other),
        "metrics": without_cost(run.metrics.read()) == without_cost(other.metrics.read()),
        "result": without_cost(run.result()) == without_cost(other.result()),
    }


if __name__ == "__main__":
    main()
