"""Evaluation speed: ``Predictor.logits`` on 10,000 images against the bare forward pass.

    python benchmarks/evaluation.py [--device cpu]

ResNet-18 and the speed network, on generated images, one view. The bare pass runs the same
network on one fixed batch of the same size in the same arithmetic, as often as needed for as many
images. The two take turns; medians of the repeats. Bar: 0.95.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from _results import paired_ratio, write_result

from cifarlab.compute import choose
from cifarlab.evaluate import Predictor
from cifarlab.evaluate.predictor import BATCH
from cifarlab.models import Classifier, build_body
from cifarlab.recipes import find

IMAGES, REPEATS, BAR = 10_000, 7, 0.95
SHAPE, CLASSES = (32, 32, 3), tuple("0123456789")


def sides(recipe: str) -> dict[str, Callable[[], float]]:
    """Images/s of either way, for the recipe's network."""
    compute = choose()
    torch.manual_seed(0)
    body = build_body(find(recipe).model, SHAPE, len(CLASSES))
    classifier = Classifier(body, [0.5] * 3, [0.25] * 3).to(compute.device).eval()
    predictor = Predictor(classifier, CLASSES, SHAPE, compute)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *SHAPE), dtype=np.uint8)
    size = BATCH[compute.device.type]
    batch = torch.rand(size, 3, 32, 32, device=compute.device)
    batch = batch.to(memory_format=torch.channels_last)

    def through_cifarlab() -> float:
        begun = time.perf_counter()
        predictor.logits(images)
        return IMAGES / (time.perf_counter() - begun)

    def bare() -> float:
        begun = time.perf_counter()
        with torch.inference_mode(), compute.autocast():
            for _ in range(IMAGES // size):
                classifier.body(batch)
        compute.synchronise()
        return IMAGES / (time.perf_counter() - begun)

    return {"cifarlab": through_cifarlab, "bare": bare}


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    device = parser.parse_args().device
    os.environ["CIFARLAB_DEVICE"] = device
    results = {}
    for recipe in ("resnet18", "speed/94"):
        ways = sides(recipe)
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(REPEATS + 1):
            for name, way in ways.items():
                speed = way()
                if repeat:  # the first warms up
                    speeds[name].append(speed)
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        ratio = paired_ratio(speeds["cifarlab"], speeds["bare"])
        results[recipe] = {"images_per_second": speeds, "median": medians, "ratio": ratio}
        told = {name: round(value) for name, value in medians.items()}
        print(f"{recipe}: {told} images/s, ratio {ratio:.3f} (bar {BAR})")
    print(write_result("evaluation", device, {"n": REPEATS, "images": IMAGES, "recipes": results}))


if __name__ == "__main__":
    main()
