"""Training speed and memory as the dataset grows: 10 thousand to 5 million images.

    python benchmarks/growth.py [--images 10000 100000 1000000 5000000] [--folder DIR]

For each size, a process of its own trains ``speed/94``'s network for the same number of steps on
generated images, mapped from disk as a real source's are (3,072 bytes each: 15.4 GB at 5
million), drawn from the whole of them in the exact random order of an epoch. Images are spread
over all pages of the file, so nothing repeats. ``anonymous`` memory is the process's own;
``mapped`` is what of the files happens to be in the system's page cache, which it takes back at
need. The first repeat warms up; medians of the others.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _results import write_result

SIZES, STEPS, REPEATS, CLASSES = (10_000, 100_000, 1_000_000, 5_000_000), 10, 6, 10
_CHUNK = 50_000


def generate(folder: Path, count: int) -> None:
    """Write a decoded source of ``count`` images: noise around a colour of its class."""
    from cifarlab.data.dataset import images_file, labels_file

    draws = np.random.default_rng(0)
    labels = draws.integers(0, CLASSES, count)
    colors = draws.integers(0, 200, (CLASSES, 1, 1, 3), dtype=np.uint8)
    np.save(labels_file(folder, "train"), labels)
    noise = draws.integers(0, 56, (_CHUNK, 32, 32, 3), dtype=np.uint8)
    images = np.lib.format.open_memmap(
        images_file(folder, "train"), "w+", np.uint8, (count, 32, 32, 3)
    )
    for start in range(0, count, _CHUNK):
        part = labels[start : start + _CHUNK]
        images[start : start + len(part)] = noise[: len(part)] + colors[part]
    images.flush()


def measure(folder: Path) -> dict[str, Any]:
    """Images/s of each repeat, seconds until the first step, and memory. In a fresh process."""
    from dataclasses import replace

    import cifarlab.training.setup as setup
    from cifarlab.data.dataset import Dataset, labels_file
    from cifarlab.optim.schedules import Segment
    from cifarlab.recipes.catalog import find
    from cifarlab.recipes.text import change
    from cifarlab.run_folder.folder import RunFolder
    from cifarlab.training.loop import fit
    from cifarlab.training.plan import Epoch

    classes = tuple(map(str, range(CLASSES)))
    sizes = {"train": len(np.load(labels_file(folder, "train")))}
    shape = (32, 32, 3)
    dataset = Dataset("made", "made", classes, shape, "0", (), ("train",), sizes, False, folder)
    setup.open_data = lambda data, *_: setup.OpenData(dataset, data)
    settings = {
        "data.val_fraction": 0.0,
        "augment.progressive_resize": [{"start": "0 epochs", "pixels": 20}],
    }
    # a made source has no test split: nearly nothing is cut off for it
    recipe = change(find("speed/94"), settings | {"data.test_fraction": 1e-3})
    with tempfile.TemporaryDirectory() as target:
        start_time = time.perf_counter()
        run = setup.prepare(recipe, RunFolder(Path(target) / "run"))
        prepare_seconds = time.perf_counter() - start_time
        per_epoch, speeds, ordering = run.plan.steps_per_epoch, [], []
        run.checkpoints.save_last = lambda *_: None  # type: ignore[method-assign]
        for repeat in range(REPEATS):
            # each repeat is an epoch of its own, of which the first steps are trained
            epochs = tuple(Epoch(i * STEPS, STEPS) for i in range(repeat + 1))
            segments = (Segment(STEPS * (repeat + 1), "planned"),)
            run.plan = replace(run.plan, segments=segments, epochs=epochs)
            start_time = time.perf_counter()
            fit(run)
            seconds = time.perf_counter() - start_time
            start_time = time.perf_counter()
            run.loader.order(repeat)
            ordering.append(time.perf_counter() - start_time)
            # an epoch's order is drawn once for all of its images
            fraction = STEPS / per_epoch
            seconds -= ordering[-1] * max(0.0, 1 - fraction)
            speeds.append(sum(run.loader.batch_sizes[:STEPS]) / seconds)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in status.splitlines()
        if line.startswith(("VmHWM", "RssAnon", "RssFile"))
    }
    return {
        "images_per_second": speeds,
        "median": statistics.median(speeds[1:]),
        "seconds_until_ready": prepare_seconds,
        "order_seconds": statistics.median(ordering),
        "anonymous_bytes": memory["RssAnon"],
        "mapped_bytes": memory["RssFile"],
        "peak_resident_bytes": memory["VmHWM"],
    }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=SIZES)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    on_cpu = os.environ | {"CIFARLAB_DEVICE": "cpu"}
    results = {}
    for count in options.images:
        folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="growth-"))
        try:
            generate(folder, count)
            command = [sys.executable, __file__, "--measure", str(folder)]
            done = subprocess.run(command, check=True, env=on_cpu, stdout=subprocess.PIPE)
            results[count] = json.loads(done.stdout.splitlines()[-1])
        finally:
            shutil.rmtree(folder)
        row = results[count]
        print(
            f"{count:>9,} images: {row['median']:.0f} images/s, own memory "
            f"{row['anonymous_bytes'] / 1e9:.2f} GB, ready in {row['seconds_until_ready']:.1f} s",
            flush=True,
        )
    ratios = {n: row["median"] / results[options.images[0]]["median"] for n, row in results.items()}
    print("speed against the smallest:", {n: round(r, 3) for n, r in ratios.items()})
    payload = {"steps": STEPS, "repeats": REPEATS, "sizes": results, "ratios": ratios}
    print(write_result("growth", "cpu", payload))


if __name__ == "__main__":
    main()
