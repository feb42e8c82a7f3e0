"""All that is measured on a GPU, in one call, within a time limit.

    CIFARLAB_DATA=... python benchmarks/on_gpu.py --limit 560 [--peer "NAME=python peer.py"]

Runs the other benchmarks one after another, the most wanted first, and leaves out what no longer
fits. A peer's command trains and evaluates as often as it likes and prints, as its last line,
JSON with ``accuracy`` (0..1) and ``seconds`` of one run (see speedrun.py). Which form of
``speed/94`` is fastest on a GPU (whole batches, compiled or not, several runs side by side) is
decided here on validation; its counted runs follow.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
WHOLE = "training.micro_batch_size=null"


def commands(peers: list[str], seeds: int) -> list[tuple[dict[str, str], list[str]]]:
    """(environment, command) in the order of what is wanted most."""
    python = [sys.executable, "-u"]
    any_speedrun = [*python, str(HERE / "speedrun.py"), "--device", "cuda"]
    speedrun = [*any_speedrun, "--seeds", str(seeds)]
    speedrun96 = [*any_speedrun, "--recipe", "speed/96"]
    peer_options = [word for peer in peers for word in ("--peer", peer)]
    throughput = [*python, str(HERE / "throughput.py"), "--device", "cuda"]
    compile_mode = {"CIFARLAB_COMPILE": "default"}
    graph_mode = {"CIFARLAB_COMPILE": "reduce-overhead"}
    return [
        ({}, [*speedrun, *peer_options, WHOLE]),
        (compile_mode, [*speedrun, WHOLE]),
        (graph_mode, [*speedrun, WHOLE]),
        ({}, [*speedrun, "--jobs", "6", WHOLE]),
        ({}, [*throughput, "--batch", "512"]),
        ({}, [*throughput, "--batch", "128"]),
        (compile_mode, [*throughput, "--batch", "512"]),
        ({}, [*throughput, "--recipe", "speed/94"]),
        ({}, [*python, str(HERE / "evaluate.py"), "--device", "cuda"]),
        (compile_mode, [*speedrun96, "--seeds", "5", WHOLE]),
    ]


def main() -> None:
    """Run what fits; say what was left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=560, help="seconds in all")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--peer", action="append", default=[])
    options = parser.parse_args()
    start_of_all, outcomes = time.monotonic(), []
    for environment, command in commands(options.peer, options.seeds):
        seconds_left = options.limit - (time.monotonic() - start_of_all)
        name = " ".join([*(f"{k}={v}" for k, v in environment.items()), *command[2:]])
        if seconds_left < 20:
            outcomes.append({"command": name, "outcome": "left out: no time"})
            continue
        print(f"== {name}", flush=True)
        start = time.monotonic()
        try:
            process = subprocess.run(
                command, env=os.environ | environment, timeout=seconds_left, check=False
            )
            outcome = "done" if process.returncode == 0 else f"failed with {process.returncode}"
        except subprocess.TimeoutExpired:
            outcome = "cut off: no time"
        outcomes.append({"command": name, "outcome": outcome, "seconds": time.monotonic() - start})
    print(json.dumps(outcomes, indent=1))


if __name__ == "__main__":
    main()
