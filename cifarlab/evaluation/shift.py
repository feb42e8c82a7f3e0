"""How a network takes other images: the fifteen corruptions, and images of none of its classes."""

import statistics
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cifarlab.data.dataset import Progress, Subset
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.opening import open_dataset
from cifarlab.evaluation.corruptions.suite import CORRUPTIONS, SEVERITIES, corrupt
from cifarlab.inference.inputs import input_policy
from cifarlab.inference.predictor import Predictor
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.system.randomness import generator

BATCH = 500  # images corrupted at a time; fixed, since it decides the draws
SEED = 0  # one for all runs: every network sees the same corrupted images


def measure_shift(
    predictor: Predictor, subset: Subset, images: int | None, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure accuracy on ``images`` of the subset, evenly spread (null: all), in a single view.

    Clean and corrupted.

    ``n``, ``clean``, ``mean`` over all corruptions and severities, ``families`` (the mean of each)
    and ``corruptions``: per row ``name``, ``family`` and ``accuracy`` by severity, 1 to 5.
    """
    indices = space_evenly(subset.indices, images)
    pixels = torch.from_numpy(subset.images[indices]).to(predictor.compute.device)
    labels = torch.from_numpy(subset.labels[indices])
    rows: dict[str, dict[str, Any]] = {}
    families: dict[str, list[float]] = {}
    kinds = list(product(CORRUPTIONS, SEVERITIES))
    for n_done, (name, severity) in enumerate(kinds, 1):
        family = CORRUPTIONS[name].family
        accuracy = _accuracy(predictor, corrupt_all(pixels, name, severity), labels)
        row = rows.setdefault(name, {"name": name, "family": family, "accuracy": []})
        row["accuracy"].append(accuracy)
        families.setdefault(family, []).append(accuracy)
        if progress:
            progress("corrupted images", n_done, len(kinds))
    return {
        "n": len(indices),
        "clean": _accuracy(predictor, pixels, labels),
        "mean": statistics.fmean(chain(*families.values())),
        "families": {family: statistics.fmean(values) for family, values in families.items()},
        "corruptions": list(rows.values()),
    }


def space_evenly(indices: np.ndarray, count: int | None) -> np.ndarray:
    """Return ``count`` of the indices (n,), evenly spread, in their order; all where it is None."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.arange(count) * len(indices) // count]


def corrupt_all(images: Tensor, name: str, severity: int) -> Tensor:
    """Images uint8 (N, H, W, C), by batches whose draws depend on their index alone."""
    purpose = f"corruption/{name}"
    batches = [
        corrupt(batch, name, severity, generator(SEED, purpose, severity, n * BATCH))
        for n, batch in enumerate(images.split(BATCH))
    ]
    return torch.cat(batches)


def _accuracy(predictor: Predictor, images: Tensor, labels: Tensor) -> float:
    return float((predictor.logits(images).argmax(1) == labels).double().mean())


def ood_scores(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Return by name the scores (N,) of logits (N, K); high: an image of a known class.

    Hendrycks & Gimpel 2017; Hendrycks et al. 2022 (arXiv:1911.11132); Liu et al. 2020
    (arXiv:2010.03759), temperature 1: the logarithm of the sum of exp.
    """
    from scipy.special import logsumexp

    return {
        "largest probability": scaled_softmax(logits).max(1),
        "largest logit": logits.max(1),
        "energy": logsumexp(logits.astype(np.float64), axis=1),
    }


def measure_ood(
    predictor: Predictor, subset: Subset, source: str, progress: Progress | None = None
) -> dict[str, Any]:
    """Score known images against as many of another source, of their size and channels; 1 view.

    ``source``, ``data`` (its name), ``known``, ``unknown`` (their numbers), and ``scores``: per
    row ``name`` and ``auroc``, the chance that a known image scores above an unknown one. Takes
    the source's training images; that it shares no class with the run is the caller's to know.
    Raises DataError.
    """
    from sklearn.metrics import roc_auc_score

    policy = input_policy(ImagePolicy(), predictor.image_shape, "stretch")
    ood_dataset = open_dataset(source, images=policy, progress=progress)
    ood_images = ood_dataset.read("train")
    indices = space_evenly(np.arange(len(ood_images)), len(subset))
    known = predictor.logits(subset.images, 1, subset.indices).numpy()
    unknown = predictor.logits(ood_images.images, 1, indices).numpy()
    is_known = np.repeat([1, 0], [len(known), len(unknown)])
    scores = ood_scores(np.concatenate([known, unknown]))
    return {
        "source": source,
        "data": ood_dataset.name,
        "known": len(known),
        "unknown": len(unknown),
        "scores": [
            {"name": name, "auroc": float(roc_auc_score(is_known, values))}
            for name, values in scores.items()
        ],
    }
