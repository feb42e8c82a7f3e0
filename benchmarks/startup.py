"""How long a user waits before anything happens: opening data, and the command line's answer.

Run it from the repository root; DATA is a folder with the original images, as the site of CIFAR-10
offers them (cifar-10-batches-py):

    CIFARLAB_DATA=DATA python benchmarks/startup.py

Bars on two cores: first opening 12 s, second 1 s, ``--help`` 0.3 s. Each repeat is a process of its
own, so imports count where a user waits for them; the files are in the system's cache.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _results import summary, write_result

REPEATS = 5
ROOT = Path(__file__).resolve().parent.parent
# With the package's imports, without Python's own start.
OPENING = """
import time
start = time.perf_counter()
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import training_subsets
from cifarlab.data.config import Data
training_subsets(open_dataset("cifar10"), Data())
print(time.perf_counter() - start)
"""
TIMED = """
import subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure all items, print their medians and write the result."""
    items: dict[str, list[float]] = {"first opening": [], "second opening": []}
    if not (Path(os.environ.get("CIFARLAB_DATA", "")) / "cifar-10-batches-py").is_dir():
        raise SystemExit("CIFARLAB_DATA must name the folder that holds cifar-10-batches-py")
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as cache:
            for item in items:
                items[item].append(seconds(["-c", OPENING], CIFARLAB_CACHE=cache))
    help_command = [sys.executable, "-m", "cifarlab", "--help"]
    items["--help"] = [seconds(["-c", TIMED, *help_command]) for _ in range(REPEATS)]
    for item, values in items.items():
        print(f"{item:16} median {statistics.median(values):7.3f} s of {len(values)}")
    path = write_result("startup", "cpu", {"seconds": {k: summary(v) for k, v in items.items()}})
    print(f"written to {path}")


def seconds(arguments: list[str], **environment: str) -> float:
    """Run Python on ``arguments`` and return the number that it prints."""
    run = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    return float(run.stdout)


if __name__ == "__main__":
    main()
