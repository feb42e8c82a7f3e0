"""What a network makes of images before its last layer, and which images it finds alike."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifarlab.inference.predictor import Predictor
from cifarlab.models.network import last_linear


def features(
    predictor: Predictor, images: np.ndarray | Tensor, indices: np.ndarray | None = None
) -> np.ndarray:
    """Return what enters the last linear layer, float32 (N, F), of uint8 images (N, H, W, C).

    ``indices`` picks images without copying the rest. Raises DataError for images of another kind.
    """
    batches: list[Tensor] = []
    body = predictor.classifier.body
    head = last_linear(body) or body  # without linear layers the images themselves

    def collect(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        batches.append(inputs[0].detach().float().cpu().flatten(1))

    with head.register_forward_pre_hook(collect):
        predictor.logits(images, 1, indices)
    return torch.cat(batches or [torch.empty(0, getattr(head, "in_features", 0))]).numpy()


def nearest_neighbors(
    query: np.ndarray, database: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices in ``database`` (N, F) and cosine distances, 0..2, of the nearest.

    ``query`` is (F,). Nearest first, ties by index; a row of zeros is at distance 1 from any.
    """
    lengths = np.linalg.norm(database, axis=1) * np.linalg.norm(query)
    distances = 1 - (database @ query) / np.where(lengths > 0, lengths, np.inf)
    indices = np.argsort(distances, kind="stable")[:k]
    return indices, distances[indices].clip(0, 2)
