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

BATCHES, SHAPE = 4, (32, 32, 3)
BILINEAR = Image.Resampling.BILINEAR
Draws = np.random.Generator
OneImage = Callable[[Image.Image, Draws], Image.Image | np.ndarray]


def rotate_and_zoom(image: Image.Image, draws: Draws) -> Image.Image:
    """Turn by 15 degrees and zoom by a tenth at most."""
    angle, zoom = math.radians(draws.uniform(-15, 15)), draws.uniform(0.9, 1.1)
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    x, y = 16 - 16 * cosine + 16 * sine, 16 - 16 * sine - 16 * cosine
    data = (cosine, -sine, x, sine, cosine, y)
    return image.transform(image.size, Image.Transform.AFFINE, data, BILINEAR)


def shift(image: Image.Image, draws: Draws) -> Image.Image:
    """Shift by three pixels at most."""
    x, y = (int(pixels) for pixels in draws.integers(-3, 4, 2))
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y))


def jitter(image: Image.Image, draws: Draws) -> Image.Image:
    """Change brightness, contrast, saturation and hue."""
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(draws.uniform(0.8, 1.2))
    hue, saturation, value = image.convert("HSV").split()
    turn = int(draws.integers(-25, 26))
    turned_hue = Image.fromarray((np.asarray(hue, np.int16) + turn).astype(np.uint8))
    return Image.merge("HSV", (turned_hue, saturation, value)).convert("RGB")


def add_noise(image: Image.Image, draws: Draws) -> np.ndarray:
    """Add Gaussian noise."""
    return np.asarray(image) + draws.normal(0, 12.75, SHAPE).astype(np.float32)


def apply_operations(image: Image.Image, draws: Draws) -> Image.Image:
    """Apply two of the fourteen operations at strength 9 of 30."""
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
                lambda picture: ImageOps.posterize(picture, 7),
                lambda picture: ImageOps.solarize(picture, 179),
                ImageOps.autocontrast,
                ImageOps.equalize,
            ]
            image = changes[name - 10](image)
    return image


def change_each(change: OneImage, images: np.ndarray) -> np.ndarray:
    """Change each image through Pillow and back, which is the usual way."""
    draws = np.random.default_rng(0)
    return np.stack([np.asarray(change(Image.fromarray(image), draws)) for image in images])


def mix_up(images: np.ndarray) -> np.ndarray:
    """Mix pair by pair (mixup)."""
    draws = np.random.default_rng(0)
    lam, partners = draws.beta(1, 1), draws.permutation(len(images))
    pairs = zip(images, images[partners], strict=True)
    return np.stack([lam * a.astype(np.float32) + (1 - lam) * b for a, b in pairs])


PARTS: dict[str, tuple[dict[str, Any], OneImage | None]] = {
    "shift": ({"translate": 0.1}, shift),
    "rotation and zoom": ({"degrees": 15, "scale": 0.1}, rotate_and_zoom),
    "jitter": (
        {"color_jitter": {"brightness_shift": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}},
        jitter,
    ),
    "noise": ({"gaussian_noise": {"sigma": 0.05}}, add_noise),
    "randaugment": ({"policy": {"kind": "randaugment"}}, apply_operations),
    "mixup": ({"mix": {"kind": "mixup"}}, None),
}


def both_sides(part: str, batch: int) -> dict[str, Callable[[], float]]:
    """Return what measures the images/s of either way, for a part of the recipe."""
    settings, change = PARTS[part]
    config, compute = build({"augment": settings}).augment, choose_compute()
    augmentation = Augmentation(config, SHAPE, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (batch, *SHAPE), dtype=np.uint8)
    resident, indices = torch.from_numpy(images).to(compute.device), torch.arange(batch)

    def run_cifarlab() -> float:
        start = time.perf_counter()
        for step in range(BATCHES):
            changed = augmentation(resident, indices, 0, step)
            config.mix.mix(changed, 0, 0, step)
        compute.synchronize()
        return BATCHES * batch / (time.perf_counter() - start)

    def run_pillow() -> float:
        start = time.perf_counter()
        mix_up(images) if change is None else change_each(change, images)
        return batch / (time.perf_counter() - start)

    return {"cifarlab": run_cifarlab, "usual": run_pillow}


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:3, mps")
    parser.add_argument("--batch", type=int, default=500, help="images per batch")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = options.device
    results = {}
    for part in PARTS:
        ways = both_sides(part, options.batch)
        speeds = in_turns(ways, options.repeats)
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        ratio = paired_ratio(speeds["cifarlab"], speeds["usual"])
        results[part] = {"images_per_second": speeds, "median": medians, "ratio": ratio}
        rounded = {name: round(value) for name, value in medians.items()}
        print(f"{part}: {rounded} images/s, ratio {ratio:.1f}", flush=True)
    payload = {"n": options.repeats, "batch": options.batch, "image_shape": SHAPE, "parts": results}
    print(write_result("augmentation", options.device, payload))


if __name__ == "__main__":
    main()
