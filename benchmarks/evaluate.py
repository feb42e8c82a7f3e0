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
from _corruptions_by_image import corrupt_image
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

BAR = 0.95
FEW = 100  # images corrupted one at a time
SHAPE, CLASSES = (32, 32, 3), tuple("0123456789")
Ways = dict[str, Callable[[], float]]


def draw_images(n: int) -> np.ndarray:
    """Images uint8 (n, H, W, C)."""
    return np.random.default_rng(0).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def images_per_second(images: int, work: Callable[[], object]) -> float:
    """Images/s of that work."""
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


def evaluation_ways(recipe: str, n_images: int) -> Ways:
    """Images/s of each way, for the recipe's network."""
    compute = choose_compute()
    torch.manual_seed(0)
    body = build_body(find(recipe).model, SHAPE, len(CLASSES))
    classifier = Classifier(body, [0.5] * 3, [0.25] * 3).to(compute.device).eval()
    predictor = Predictor(classifier, CLASSES, SHAPE, compute)
    images, size = draw_images(n_images), min(n_images, batch_size(compute.device))
    fixed = torch.rand(size, 3, 32, 32, device=compute.device)
    fixed = fixed.to(memory_format=torch.channels_last)

    def forward_only() -> None:
        with torch.inference_mode(), compute.autocast():
            for _ in range(n_images // size):
                classifier.body(fixed)
        compute.synchronize()

    def normalize(image: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(Image.fromarray(image))).permute(2, 0, 1)
        return (pixels.float().div(255) - 0.5) / 0.25

    def image_by_image() -> None:
        with torch.inference_mode(), compute.autocast():
            for start in range(0, n_images, size):
                part = torch.stack([normalize(image) for image in images[start : start + size]])
                classifier.body(part.to(compute.device))
        compute.synchronize()

    return {
        "cifarlab": lambda: images_per_second(n_images, lambda: predictor.logits(images)),
        "bare": lambda: images_per_second(n_images, forward_only),
        "usual": lambda: images_per_second(n_images, image_by_image),
    }


def corruption_ways(name: str) -> Ways:
    """Images/s of either way, for one corruption."""
    compute = choose_compute()
    images = draw_images(CORRUPTED_AT_A_TIME)
    resident = torch.from_numpy(images).to(compute.device)

    def by_batch() -> None:
        corrupt_all(resident, name, 3)
        compute.synchronize()

    def corrupt_image_by_image() -> None:
        for image in images[:FEW]:
            corrupt_image(image, name)

    return {
        "cifarlab": lambda: images_per_second(len(images), by_batch),
        "usual": lambda: images_per_second(FEW, corrupt_image_by_image),
    }


def measure_ways(ways: Ways, repeats: int) -> dict[str, Any]:
    """All speeds of each way, and their medians."""
    speeds = in_turns(ways, repeats)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {name: paired_ratio(speeds["cifarlab"], theirs) for name, theirs in speeds.items()}
    return {"images_per_second": speeds, "median": medians, "ratio": ratios}


def all_fifteen(results: dict[str, Any]) -> dict[str, float]:
    """Images/s through all corruptions, each image through each."""
    ways = next(iter(results.values()))["median"]
    return {
        way: len(results) / sum(1 / speeds["median"][way] for speeds in results.values())
        for way in ways
    }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:3, mps")
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device, n_images, repeats = options.device, options.images, options.repeats
    os.environ["CIFARLAB_DEVICE"] = device
    recipes, corruptions = {}, {}
    for recipe in ("resnet18", "speed/94"):
        speeds = recipes[recipe] = measure_ways(evaluation_ways(recipe, n_images), repeats)
        rounded = {name: round(value) for name, value in speeds["median"].items()}
        ratio = speeds["ratio"]
        print(f"{recipe}: {rounded} images/s", flush=True)
        print(f"  {ratio['bare']:.3f} of bare (bar {BAR}), {ratio['usual']:.2f} of usual")
    for name in CORRUPTIONS:
        speeds = corruptions[name] = measure_ways(corruption_ways(name), repeats)
        rounded = {way: round(value) for way, value in speeds["median"].items()}
        print(f"{name}: {rounded} images/s, ratio {speeds['ratio']['usual']:.1f}", flush=True)
    total = all_fifteen(corruptions)
    print(f"all fifteen: { ({way: round(value) for way, value in total.items()}) } images/s")
    payload = {
        "n": repeats,
        "images": n_images,
        "recipes": recipes,
        "corruptions": corruptions,
        "all_corruptions": total,
    }
    print(write_result("evaluate", device, payload))


if __name__ == "__main__":
    main()
