"""What a network makes of images before its last layer, and which images it finds alike."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifarlab.inference.predictor import Predictor
from cifarlab.models.layers import Head


def features(
    predictor: Predictor, images: np.ndarray | Tensor, indices: np.ndarray | None = None
) -> np.ndarray:
    """What enters the last linear layer, float32 (N, F), of uint8 images (N, H, W, C).

    ``indices`` picks images without copying the rest. Raises DataError for images of another kind.
    """
    seen: list[Tensor] = []
    head = next(m for m in predictor.classifier.body.modules() if isinstance(m, Head))

    def note(_module: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append(given[0].detach().float().cpu())

    handle = head.register_forward_pre_hook(note)
    try:
        predictor.logits(images, 1, indices)
    finally:
        handle.remove()
    return torch.cat([torch.empty(0, head.in_features), *seen]).numpy()


def nearest(one: np.ndarray, many: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in ``many`` (N, F), and cosine distances, 0..2, of the ``most`` nearest to ``one``.

    ``one`` is (F,). Nearest first, ties by place; a row of zeros is at distance 1 from any.
    """
    lengths = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    distances = 1 - (many @ one) / np.where(lengths > 0, lengths, np.inf)
    places = np.argsort(distances, kind="stable")[:most]
    return places, distances[places].clip(0, 2)
