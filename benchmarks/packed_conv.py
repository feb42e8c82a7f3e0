"""Training steps with several images in a row of small maps, and without (models/packed_conv.py).

    python benchmarks/packed_conv.py [--recipes speed/94 resnet18] [--pixels 20 24 28 32]

Bare steps (throughput.py's) of each recipe at each image size, in the arithmetic that ``cifarlab
check`` chooses: packed and plain take turns in one process. The ratio is packed to plain images/s,
the median of the ratios repeat by repeat. Packing is meant for processors with AMX; elsewhere it
is off by default.
"""

import argparse
import os
from collections.abc import Callable

import torch
from _results import in_turns, paired_ratio, summary, write_result
from throughput import time_bare_step

from cifarlab.recipes.catalog import find
from cifarlab.system.device import choose_compute, has_amx

IMAGES, REPEATS = 1024, 5


def with_pack(value: str, measure: Callable[[], float]) -> Callable[[], float]:
    """Return a function that sets $CIFARLAB_PACK and then calls ``measure``."""

    def set_and_measure() -> float:
        os.environ["CIFARLAB_PACK"] = value
        return measure()

    return set_and_measure


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["speed/94", "resnet18"])
    parser.add_argument("--pixels", nargs="+", type=int, default=[20, 24, 28, 32])
    options = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = "cpu"
    compute = choose_compute()
    rows = []
    for recipe in map(find, options.recipes):
        for pixels in options.pixels:
            steps = max(1, IMAGES // recipe.training.batch_size)
            measure = time_bare_step(recipe, steps, compute, pixels)
            ways = {"packed": with_pack("1", measure), "plain": with_pack("0", measure)}
            speeds = in_turns(ways, REPEATS)
            ratio = paired_ratio(speeds["packed"], speeds["plain"])
            print(f"{recipe.name} at {pixels} pixels: {ratio:.3f}", flush=True)
            rows.append(
                {
                    "recipe": recipe.name,
                    "pixels": pixels,
                    "ratio": ratio,
                    **{name: summary(values) for name, values in speeds.items()},
                }
            )
    payload = {
        "amx": has_amx(),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "images_per_second": rows,
    }
    print(write_result("packed-conv", "cpu", payload))


if __name__ == "__main__":
    main()
