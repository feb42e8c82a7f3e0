"""Accuracy under the fifteen common corruptions (see ``evaluation.corruptions``)."""

import statistics
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cifarlab.data.dataset import Progress, Subset
from cifarlab.evaluation.corruptions.suite import CORRUPTIONS, SEVERITIES, corrupt
from cifarlab.inference.predictor import Predictor
from cifarlab.system.randomness import generator

BATCH = 500  # images corrupted at a time; fixed, since it decides the draws
SEED = 0  # one for all runs: every network sees the same corrupted images


def measure_shift(
    predictor: Predictor, subset: Subset, images: int | None, progress: Progress
) -> dict[str, Any]:
    """Measure accuracy on ``images`` of the subset, evenly spread (null: all), in a single view.

    Clean and corrupted.

    ``n``, ``clean``, ``mean`` over all corruptions and severities, ``families`` (the mean of each)
    and ``corruptions``: per row ``name``, ``family`` and ``accuracy`` by severity, 1 to 5.
    """
    indices = space_evenly(subset.indices, images)
    device = predictor.compute.device
    pixels = torch.from_numpy(subset.images[indices]).to(device)
    labels = torch.from_numpy(subset.labels[indices])
    rows: list[dict[str, Any]] = []
    n_done, total = 0, len(CORRUPTIONS) * len(SEVERITIES)
    for name, corruption in CORRUPTIONS.items():
        accuracies = []
        for severity in SEVERITIES:
            progress("corrupted images", n_done, total)
            corrupted = corrupt_all(pixels, name, severity)
            accuracies.append(_accuracy(predictor, corrupted, labels))
            n_done += 1
        rows.append({"name": name, "family": corruption.family, "accuracy": accuracies})
    progress("corrupted images", total, total)
    families = dict.fromkeys(row["family"] for row in rows)
    return {
        "n": len(indices),
        "clean": _accuracy(predictor, pixels, labels),
        "mean": statistics.fmean(value for row in rows for value in row["accuracy"]),
        "families": {
            family: statistics.fmean(
                value for row in rows if row["family"] == family for value in row["accuracy"]
            )
            for family in families
        },
        "corruptions": rows,
    }


def space_evenly(indices: np.ndarray, count: int | None) -> np.ndarray:
    """Return ``count`` of the indices (n,), evenly spread, in their order; all where it is None."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.arange(count) * len(indices) // count]


def corrupt_all(images: Tensor, name: str, severity: int) -> Tensor:
    """Images uint8 (N, H, W, C), by batches whose draws depend on their index alone."""
    batches = []
    for start in range(0, len(images), BATCH):
        rng = generator(SEED, f"corruption/{name}", severity, start)
        batches.append(corrupt(images[start : start + BATCH], name, severity, rng))
    return torch.cat(batches)


def _accuracy(predictor: Predictor, images: Tensor, labels: Tensor) -> float:
    return float((predictor.logits(images).argmax(1) == labels).double().mean())
