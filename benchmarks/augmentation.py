"""Augmentation speed: the batched version against one image at a time with Pillow and NumPy.

    python benchmarks/augmentation.py [--device cpu] [--batch 500]

Generated images of 32 x 32 pixels, uint8, as they come from the loader. The usual way is one
process that takes image by image, as a worker of a DataLoader does; draws are part of both. The
two take turns; medians of the repeats. No bar: the ratio is printed.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _results import in_turns, paired_ratio, write_result
from PIL import Image, ImageEnhance, ImageOps

from cifarlab.augment.pipeline import Augmentation
from cifarlab.recipes.text import build
from cifarlab.system.device import choose_compute

REPEATS, BATCHES, SHAPE = 7, 4, (32, 32, 3)
BILINEAR = Image.Resampling.BILINEAR
Draws = np.random.Generator
OneImage = Callable[[Image.Image, Draws], Image.Image | np.ndarray]


def turned(image: Image.Image, draws: Draws) -> Image.Image:
    """Rotation by 15 degrees and zoom by a tenth at most."""
    angle, zoom = math.radians(draws.uniform(-15, 15)), draws.uniform(0.9, 1.1)
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    x, y = 16 - 16 * cosine + 16 * sine, 16 - 16 * sine - 16 * cosine
    data = (cosine, -sine, x, sine, cosine, y)
    return image.transform(image.size, Image.Transform.AFFINE, data, BILINEAR)


def shifted(image: Image.Image, draws: Draws) -> Image.Image:
    """A shift by three pixels at most."""
    x, y = (int(pixels) for pixels in draws.integers(-3, 4, 2))
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y))


def jittered(image: Image.Image, draws: Draws) -> Image.Image:
    """Brightness, contrast, saturation and hue."""
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(draws.uniform(0.8, 1.2))
    hue, saturation, value = image.convert("HSV").split()
    turn = int(draws.integers(-25, 26))
    turned_hue = Image.fromarray((np.asarray(hue, np.int16) + turn).astype(np.uint8))
    return Image.merge("HSV", (turned_hue, saturation, value)).convert("RGB")


def noisy(image: Image.Image, draws: Draws) -> np.ndarray:
    """Gaussian noise."""
    return np.asarray(image) + draws.normal(0, 12.75, SHAPE).astype(np.float32)


def operated(image: Image.Image, draws: Draws) -> Image.Image:
    """Two of the fourteen operations at strength 9 of 30."""
    for _ in range(2):
        way = 0.3 if draws.random() < 0.5 else -0.3
        name = int(draws.integers(14))
        if name in (1, 2, 3, 4):
            data = [(1, way * 0.3, 0, 0, 1, 0), (1, 0, 0, way * 0.3, 1, 0)]
            data += [(1, 0, way * 14.5, 0, 1, 0), (1, 0, 0, 0, 1, way * 14.5)]
            image = image.transform(image.size, Image.Transform.AFFINE, data[name - 1], BILINEAR)
        elif name == 5:
            image = image.rotate(way * 30, BILINEAR)
        elif name in (6, 7, 8, 9):
            kinds = (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast)
            enhancer = (*kinds, ImageEnhance.Sharpness)[name - 6]
            image = enhancer(image).enhance(1 + way * 0.9)
        elif name:
            changes: list[Callable[[Image.Image], Image.Image]] = [
                lambda given: ImageOps.posterize(given, 7),
                lambda given: ImageOps.solarize(given, 179),
                ImageOps.autocontrast,
                ImageOps.equalize,
            ]
            image = changes[name - 10](image)
    return image


def one_by_one(change: OneImage, images: np.ndarray) -> np.ndarray:
    """The usual way: each image through Pillow and back."""
    draws = np.random.default_rng(0)
    return np.stack([np.asarray(change(Image.fromarray(image), draws)) for image in images])


def mixed_up(images: np.ndarray) -> np.ndarray:
    """mixup, pair by pair."""
    draws = np.random.default_rng(0)
    share, partners = draws.beta(1, 1), draws.permutation(len(images))
    pairs = zip(images, images[partners], strict=True)
    return np.stack([share * one.astype(np.float32) + (1 - share) * two for one, two in pairs])


PARTS: dict[str, tuple[dict[str, Any], OneImage | None]] = {
    "shift": ({"translate": 0.1}, shifted),
    "rotation and zoom": ({"degrees": 15, "scale": 0.1}, turned),
    "jitter": (
        {"color_jitter": {"brightness_shift": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}},
        jittered,
    ),
    "noise": ({"gaussian_noise": {"sigma": 0.05}}, noisy),
    "randaugment": ({"policy": {"kind": "randaugment"}}, operated),
    "mixup": ({"mix": {"kind": "mixup"}}, None),
}


def sides(part: str, batch: int) -> dict[str, Callable[[], float]]:
    """Images/s of either way of one part of the recipe."""
    settings, change = PARTS[part]
    config, compute = build({"augment": settings}).augment, choose_compute()
    augmentation = Augmentation(config, SHAPE, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (batch, *SHAPE), dtype=np.uint8)
    resident, places = torch.from_numpy(images).to(compute.device), torch.arange(batch)

    def batched() -> float:
        begun = time.perf_counter()
        for step in range(BATCHES):
            changed = augmentation(resident, places, 0, step)
            config.mix.mix(changed, 0, 0, step)
        compute.synchronize()
        return BATCHES * batch / (time.perf_counter() - begun)

    def usual() -> float:
        begun = time.perf_counter()
        mixed_up(images) if change is None else one_by_one(change, images)
        return batch / (time.perf_counter() - begun)

    return {"cifarlab": batched, "usual": usual}


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=500, help="images per batch")
    given = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = given.device
    results = {}
    for part in PARTS:
        ways = sides(part, given.batch)
        speeds = in_turns(ways, REPEATS)
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        ratio = paired_ratio(speeds["cifarlab"], speeds["usual"])
        results[part] = {"images_per_second": speeds, "median": medians, "ratio": ratio}
        told = {name: round(value) for name, value in medians.items()}
        print(f"{part}: {told} images/s, ratio {ratio:.1f}", flush=True)
    payload = {"n": REPEATS, "batch": given.batch, "image_shape": SHAPE, "parts": results}
    print(write_result("augmentation", given.device, payload))


if __name__ == "__main__":
    main()
