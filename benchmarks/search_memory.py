"""What four trials at once hold in memory: each for itself, and the dataset together.

    CIFARLAB_DATA=DATA python benchmarks/search_memory.py [SOURCE...]

For the digits and for the 60,000 images of CIFAR-10 (or the sources named): four trials on
this machine. Private is what a worker alone holds (USS); the images are mapped from the cache, so
their file's pages are shared: their proportional sizes over all workers add up to at most one
copy. Linux only.
"""

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from _results import write_result
from _searching import start, wait_for, write_search

TRIALS = 4
MEGABYTE = 2**20


def main() -> None:
    """Measure each source, print it, write the result."""
    payload = {}
    for source in sys.argv[1:] or ["digits", "cifar10"]:
        with tempfile.TemporaryDirectory() as directory:
            payload[source] = measure_memory(Path(directory), source)
        print(source, payload[source])
    print(f"written to {write_result('search-memory', 'cpu', {'sources': payload})}")


def measure_memory(directory: Path, source: str) -> dict[str, Any]:
    """Memory in MiB while four trials train."""
    small = {"model.kind": "resnet", "model.stem_width": 16, "model.depths": [1, 1, 1]}
    changes = {**small, "data.source": source, "training.precision": "float32"}
    file = write_search(
        directory,
        "memory",
        overrides=changes,
        space={"optimizer.lr": {"kind": "loguniform", "low": 1e-3, "high": 0.1}},
        trials=TRIALS,
        max_epochs="1000 epochs",
        scheduler={"kind": "none"},
    )
    process = start(file, "--jobs", str(TRIALS))
    try:
        wait_for(lambda: len(training_pids(process.pid)) == TRIALS, process)
        time.sleep(30)  # a worker has looked at all images by then, or at many of them
        workers = [psutil.Process(pid) for pid in training_pids(process.pid)]
        mapped_images = [read_mapped_images(worker.pid) for worker in workers]
        private = [worker.memory_full_info().uss / MEGABYTE for worker in workers]
        driver = psutil.Process(process.pid).memory_full_info().uss / MEGABYTE
    finally:
        process.terminate()
        process.wait()
    return {
        "trials": TRIALS,
        "private_mib": private,
        "images_mib": mapped_images[0]["size"],
        "images_proportional_mib": sum(maps["pss"] for maps in mapped_images),
        "images_private_mib": sum(maps["private"] for maps in mapped_images),
        "driver_private_mib": driver,
    }


def training_pids(pid: int) -> list[int]:
    """The workers under a driver that have the training images mapped."""
    pids = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if "train.images.npy" in Path(f"/proc/{child.pid}/maps").read_text():
                pids.append(child.pid)
        except (OSError, psutil.Error):
            continue
    return pids


def read_mapped_images(pid: int) -> dict[str, float]:
    """What a process maps of the training images, in MiB."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    sums = {"size": 0.0, "pss": 0.0, "private": 0.0}
    for block in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text):
        if "train.images.npy" not in block.partition("\n")[0]:
            continue
        kib = {name: int(size) for name, size in re.findall(r"(\w+):\s+(\d+) kB", block)}
        sums["size"] += kib["Size"] / 1024
        sums["pss"] += kib["Pss"] / 1024
        sums["private"] += (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024
    return sums


if __name__ == "__main__":
    main()
