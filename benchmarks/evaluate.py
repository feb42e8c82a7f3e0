"""Evaluation speed: ``Predictor.logits`` and the corruptions, by the batch and image by image.

    python benchmarks/evaluate.py [--device cpu]

ResNet-18 and the airbench network on generated images, one view, three ways: through cifarlab; the
bare forward pass of one fixed batch of the same size in the same arithmetic, as often as needed for
as many images (bar for cifarlab: 0.95 of it); and as is usual, each image decoded from an array,
scaled and normalised alone, then stacked. Then each of the fifteen corruptions at severity 3, by
the batch against one image at a time with NumPy, SciPy and Pillow. Ways take turns; medians of the
repeats.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _corruptions_by_image import corrupted as corrupted_alone
from _results import in_turns, paired_ratio, write_result
from PIL import Image

from cifarlab.evaluation.corruptions.suite import CORRUPTIONS
from cifarlab.evaluation.shift import BATCH as CORRUPTED_AT_A_TIME
from cifarlab.evaluation.shift import corrupt_all
from cifarlab.inference.predictor import Predictor, batch_size
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.recipes.catalog import find
from cifarlab.system.device import choose_compute

IMAGES, REPEATS, BAR = 5_000, 5, 0.95
FEW = 100  # images corrupted one at a time
SHAPE, CLASSES = (32, 32, 3), tuple("0123456789")
Ways = dict[str, Callable[[], float]]


def drawn(n: int) -> np.ndarray:
    """Images uint8 (n, H, W, C)."""
    return np.random.default_rng(0).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def timed(images: int, work: Callable[[], object]) -> float:
    """Images/s of that work."""
    begun = time.perf_counter()
    work()
    return images / (time.perf_counter() - begun)


def evaluating(recipe: str) -> Ways:
    """Images/s of each way, for the recipe's network."""
    compute = choose_compute()
    torch.manual_seed(0)
    body = build_body(find(recipe).model, SHAPE, len(CLASSES))
    classifier = Classifier(body, [0.5] * 3, [0.25] * 3).to(compute.device).eval()
    predictor = Predictor(classifier, CLASSES, SHAPE, compute)
    images, size = drawn(IMAGES), batch_size(compute.device)
    fixed = torch.rand(size, 3, 32, 32, device=compute.device)
    fixed = fixed.to(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode(), compute.autocast():
            for _ in range(IMAGES // size):
                classifier.body(fixed)
        compute.synchronize()

    def normalised(image: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(Image.fromarray(image))).permute(2, 0, 1)
        return (pixels.float().div(255) - 0.5) / 0.25

    def usual() -> None:
        with torch.inference_mode(), compute.autocast():
            for start in range(0, IMAGES, size):
                part = torch.stack([normalised(image) for image in images[start : start + size]])
                classifier.body(part.to(compute.device))
        compute.synchronize()

    return {
        "cifarlab": lambda: timed(IMAGES, lambda: predictor.logits(images)),
        "bare": lambda: timed(IMAGES, bare),
        "usual": lambda: timed(IMAGES, usual),
    }


def corrupting(name: str) -> Ways:
    """Images/s of either way, for one corruption."""
    compute = choose_compute()
    images = drawn(CORRUPTED_AT_A_TIME)
    resident = torch.from_numpy(images).to(compute.device)

    def batched() -> None:
        corrupt_all(resident, name, 3)
        compute.synchronize()

    def alone() -> None:
        for image in images[:FEW]:
            corrupted_alone(image, name)

    return {
        "cifarlab": lambda: timed(len(images), batched),
        "usual": lambda: timed(FEW, alone),
    }


def measured(ways: Ways) -> dict[str, Any]:
    """All speeds of each way, and their medians."""
    speeds = in_turns(ways, REPEATS)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {name: paired_ratio(speeds["cifarlab"], theirs) for name, theirs in speeds.items()}
    return {"images_per_second": speeds, "median": medians, "ratio": ratios}


def all_fifteen(results: dict[str, Any]) -> dict[str, float]:
    """Images/s through all corruptions, each image through each."""
    ways = next(iter(results.values()))["median"]
    return {
        way: len(results) / sum(1 / told["median"][way] for told in results.values())
        for way in ways
    }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    device = parser.parse_args().device
    os.environ["CIFARLAB_DEVICE"] = device
    recipes, corruptions = {}, {}
    for recipe in ("resnet18", "speed/94"):
        told = recipes[recipe] = measured(evaluating(recipe))
        rounded = {name: round(value) for name, value in told["median"].items()}
        ratio = told["ratio"]
        print(f"{recipe}: {rounded} images/s", flush=True)
        print(f"  {ratio['bare']:.3f} of bare (bar {BAR}), {ratio['usual']:.2f} of usual")
    for name in CORRUPTIONS:
        told = corruptions[name] = measured(corrupting(name))
        rounded = {way: round(value) for way, value in told["median"].items()}
        print(f"{name}: {rounded} images/s, ratio {told['ratio']['usual']:.1f}", flush=True)
    together = all_fifteen(corruptions)
    print(f"all fifteen: { ({way: round(value) for way, value in together.items()}) } images/s")
    payload = {
        "n": REPEATS,
        "images": IMAGES,
        "recipes": recipes,
        "corruptions": corruptions,
        "all_corruptions": together,
    }
    print(write_result("evaluate", device, payload))


if __name__ == "__main__":
    main()
