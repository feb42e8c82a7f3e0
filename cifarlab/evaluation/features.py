"""The features that a network computes before its last layer, and the nearest images by these."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifarlab.inference.predictor import Predictor
from cifarlab.models.network import last_linear


def features(
    predictor: Predictor, images: np.ndarray | Tensor, indices: np.ndarray | None = None
) -> np.ndarray:
    """Return what enters the last linear layer, float32 (N, F).

    Args:
        predictor: the network
        images: uint8 (N, H, W, C)
        indices: (n,), of the images to take, so that the rest is not copied; None: all

    Raises:
        DataError: the images have another type, size or number of channels than the network's
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
    """Return the indices (k,) and cosine distances (k,), 0..2, of the nearest rows.

    Nearest first, of equally near ones the lower index first; a row of zeros is at distance 1.

    Args:
        query: features (F,)
        database: features (N, F)
        k: how many rows are returned, where there are as many
    """
    lengths = np.linalg.norm(database, axis=1) * np.linalg.norm(query)
    distances = 1 - (database @ query) / np.where(lengths > 0, lengths, np.inf)
    indices = np.argsort(distances, kind="stable")[:k]
    return indices, distances[indices].clip(0, 2)
