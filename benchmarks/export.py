"""Exported networks on the CPU: certificates, and images/s of onnxruntime against ``Predictor``.

    python benchmarks/export.py RUN... [--repeats 5]

Of each run three ways, each from uint8 images to probabilities, one image and 128 images at a time,
of the first 128 validation images: cifarlab's predictor, in the arithmetic that the run was
measured in; onnxruntime with the float32 graph; onnxruntime with the INT8 graph. One thread, and
seconds of the processor, which other processes hardly lengthen. Ways take turns; medians of the
repeats, and the median ratio to the predictor. Where only some images get further views, the
predictor computes them for those alone and the graph for all.

Of each run, too, what the certificates of both graphs say (``against_float32``, ``against_run``).
INT8 is certified here with a margin of 100 points, which all keep: whether it passes at another one
is whether ``at_least`` is above it.
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _results import in_turns, paired_ratio, write_result

from cifarlab.exporting.export_run import export_run
from cifarlab.exporting.formats import FORMATS, Network
from cifarlab.exporting.measured_run import MeasuredRun
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.run_folder.folder import RunFolder

BATCHES = (1, 128)  # images at a time
LEAST_SECONDS = 0.5


def export_graphs(run: Path) -> tuple[dict[str, Network], dict[str, Any]]:
    """The float32 and the INT8 graph of a run in onnxruntime, and what their certificates say."""
    graphs: dict[str, Network] = {}
    certificates: dict[str, Any] = {}
    for name, quantize in (("onnx", None), ("onnx int8", "int8")):
        with TemporaryDirectory() as folder:
            margin = 100.0 if quantize else None
            exported = export_run(run, quantize=quantize, margin=margin, out=Path(folder))
            graphs[name] = FORMATS["onnx"].load(exported.path.read_bytes())
        kept_keys = ("images", "against_float32", "against_run", "measured")
        certificates[name] = {key: exported.certificate[key] for key in kept_keys}
    return graphs, certificates


def timed(work: Callable[[np.ndarray], object], images: np.ndarray, size: int) -> float:
    """Images per second of the processor, so many at a time, for half a second."""
    start, n_images = time.process_time(), 0
    for part in itertools.cycle(np.split(images, len(images) // size)):
        work(part)
        n_images += size
        if (seconds := time.process_time() - start) >= LEAST_SECONDS:
            break
    return n_images / seconds


def measure_speed(run: MeasuredRun, graphs: dict[str, Network], repeats: int) -> dict[str, Any]:
    """Images/s of each way by images at a time, all values, and their ratios to the predictor."""
    subset = run.open_images(False, "").subset
    ways: dict[str, Callable[[np.ndarray], object]] = {
        "cifarlab": lambda images: scaled_softmax(
            run.predictor.logits(images, run.views).numpy(), run.temperature or 1.0
        ),
        **graphs,
    }
    images = np.ascontiguousarray(subset.images[subset.indices[: max(BATCHES)]])
    results = {}
    for size in BATCHES:
        timings = {name: partial(timed, work, images, size) for name, work in ways.items()}
        speeds = in_turns(timings, repeats)
        results[size] = {
            "images_per_second": speeds,
            "median": {name: statistics.median(values) for name, values in speeds.items()},
            "ratio": {n: paired_ratio(values, speeds["cifarlab"]) for n, values in speeds.items()},
        }
    return results


def main() -> None:
    """Measure each run, print its figures and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = "cpu"
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for path in options.runs:
        run = MeasuredRun(RunFolder(path))
        graphs, certificates = export_graphs(path)
        speed = measure_speed(run, graphs, options.repeats)
        precision = run.predictor.compute.precision
        about = {"recipe": run.recipe.name, "precision": precision, "views": run.views}
        results[path.name] = about | {"certificates": certificates, "speed": speed}
        for size, row in speed.items():
            medians = {name: float(f"{value:.4g}") for name, value in row["median"].items()}
            ratios = {name: float(f"{value:.3g}") for name, value in row["ratio"].items()}
            print(f"{path.name}, {size} at a time: {medians} images/s, ratios {ratios}", flush=True)
    payload = {"n": options.repeats, "threads": 1, "runs": results}
    print(write_result("export", "cpu", payload))


if __name__ == "__main__":
    main()
