"""Training steps beside other processes: with a thread for every core, and for every free core.

    python benchmarks/busy_machine.py [--recipe speed/94] [--pixels 24] [--busy 1]

Bare steps (throughput.py's) on a CPU take turns: with all cores' threads, and with as many as
``cifarlab.system.threads`` finds free; first alone, then beside ``--busy`` processes that compute
without a pause. The ratio is free to all images/s, the median of the ratios repeat by repeat.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable

import torch
from _results import in_turns, paired_ratio, summary, write_result
from throughput import time_bare_step

from cifarlab.recipes.catalog import find
from cifarlab.system.device import choose_compute
from cifarlab.system.threads import busy_cores, cores

IMAGES, REPEATS = 1024, 5


def spin() -> None:
    """Compute without a pause."""
    while True:
        pass


def limit_threads(count: int, measure: Callable[[], float]) -> Callable[[], float]:
    """``measure`` with so many threads."""

    def measure_limited() -> float:
        torch.set_num_threads(count)
        return measure()

    return measure_limited


def measure_beside(busy: int, measure: Callable[[], float]) -> dict[str, object]:
    """Images/s with all threads and with the free cores' while ``busy`` processes compute."""
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(busy)]
    for process in processes:
        process.start()
    try:
        n_busy_cores = busy_cores()
        counts = {"all": cores(), "free": max(1, int(cores() - n_busy_cores + 0.5))}
        ways = {name: limit_threads(count, measure) for name, count in counts.items()}
        speeds = in_turns(ways, REPEATS)
    finally:
        for process in processes:
            process.kill()
    ratio = paired_ratio(speeds["free"], speeds["all"])
    print(
        f"beside {busy} ({n_busy_cores:.2f} cores busy), threads {counts}: {ratio:.2f}", flush=True
    )
    images_per_second = {name: summary(values) for name, values in speeds.items()}
    return {
        "busy": busy,
        "seen": n_busy_cores,
        "threads": counts,
        "ratio": ratio,
        **images_per_second,
    }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="speed/94")
    parser.add_argument("--pixels", type=int, default=24)
    parser.add_argument("--busy", type=int, default=1)
    options = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = "cpu"
    compute, recipe = choose_compute(), find(options.recipe)
    steps = max(1, IMAGES // recipe.training.batch_size)
    measure = time_bare_step(recipe, steps, compute, options.pixels)
    rows = [measure_beside(busy, measure) for busy in (0, options.busy)]
    payload = {"recipe": recipe.name, "pixels": options.pixels, "precision": compute.precision}
    print(write_result("busy-machine", "cpu", {**payload, "images_per_second": rows}))


if __name__ == "__main__":
    main()
