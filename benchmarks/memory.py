"""Peak memory of training ResNet-18 at batch 128 on the 60,000 images of CIFAR-10.

    CIFARLAB_DATA=DATA python benchmarks/memory.py

Each repeat is a process of its own: ``cifarlab train`` for a few steps, with validation and test
at the end, since the peak of a run is reached in its first steps. Bar: 2.5 GB (1e9 bytes).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _results import write_result

REPEATS, BAR = 5, 2.5e9
SETTINGS = ["training.duration=6 steps", "--data", "cifar10"]


def peak(folder: Path) -> int:
    """Bytes that the run's result reports (the process's largest resident set)."""
    command = [sys.executable, "-m", "cifarlab", "train", "resnet18", *SETTINGS, "--run", folder]
    on_cpu = os.environ | {"CIFARLAB_DEVICE": "cpu"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=on_cpu)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return int(result["cost"]["peak_memory_bytes"])


def main() -> None:
    """Measure, print, write the result."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = [peak(Path(folder) / str(repeat)) for repeat in range(REPEATS)]
    median = statistics.median(peaks)
    print(f"peak memory: median {median / 1e9:.2f} GB of {REPEATS} runs (bar {BAR / 1e9} GB)")
    print(write_result("memory", "cpu", {"n": REPEATS, "bytes": peaks, "median": median}))


if __name__ == "__main__":
    main()
