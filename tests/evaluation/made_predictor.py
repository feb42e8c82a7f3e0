"""A small predictor, images for it, and the test-time views of one image pixel by pixel."""

import numpy as np
import torch

from cifarlab.inference.predictor import Predictor
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.resnet import ResNetConfig
from cifarlab.system.device import choose_compute

MODEL = ResNetConfig(stem_width=4, depths=(1,), channels=(6,), strides=(2,))
SHAPE = (9, 8, 3)  # neither square nor even, so that mixed-up axes show
CLASSES = ("x", "y", "z")


def make_predictor(precision: str = "float32") -> Predictor:
    torch.manual_seed(0)
    classifier = Classifier(build_body(MODEL, SHAPE, 3), [0.4, 0.5, 0.6], [0.2, 0.3, 0.1])
    with torch.no_grad():  # running statistics of their own, so that they must be saved too
        for name, buffer in classifier.body.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
    return Predictor(classifier, CLASSES, SHAPE, choose_compute(precision))


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def slow_views(image: np.ndarray, views: int) -> list[np.ndarray]:
    """The views of one image (H, W, C), pixel by pixel."""
    height, width, _ = image.shape
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    shifts = {6: [corners[0], corners[3]], 10: corners}.get(views, [])
    all_views = []
    for down, right in [(0, 0), *shifts]:
        view = np.empty_like(image)
        for row in range(height):
            for column in range(width):
                r, c = abs(row + down), abs(column + right)
                r = 2 * (height - 1) - r if r >= height else r
                c = 2 * (width - 1) - c if c >= width else c
                view[row, column] = image[r, c]
        all_views.append(view)
        if views > 1:
            all_views.append(view[:, ::-1].copy())
    return all_views
