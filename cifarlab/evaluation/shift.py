"""Measures a network on other images: fifteen corruptions, and images of none of its classes."""

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
    predictor: Predictor, subset: Subset, n_images: int | None, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure accuracy in a single view, on clean and on corrupted images.

    Args:
        predictor: the network
        subset: the images of one split
        n_images: how many of them are taken, evenly spread; None: all
        progress: called after each corruption and severity

    Returns:
        ``n``, ``clean``, ``mean`` over all corruptions and severities, ``families`` (the mean of
        each) and ``corruptions``: per row ``name``, ``family`` and ``accuracy`` by severity.
    """
    indices = space_evenly(subset.indices, n_images)
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
    """Return ``count`` of the indices (n,), evenly spread, in their order; None: all."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.arange(count) * len(indices) // count]


def corrupt_all(images: Tensor, name: str, severity: int) -> Tensor:
    """Corrupt images by batches whose draws depend on the batch's index alone.

    Args:
        images: uint8 (N, H, W, C)
        name: a key of ``CORRUPTIONS``
        severity: 1 to 5
    """
    purpose = f"corruption/{name}"
    batches = [
        corrupt(batch, name, severity, generator(SEED, purpose, severity, n * BATCH))
        for n, batch in enumerate(images.split(BATCH))
    ]
    return torch.cat(batches)


def _accuracy(predictor: Predictor, images: Tensor, labels: Tensor) -> float:
    return float((predictor.logits(images).argmax(1) == labels).double().mean())


def ood_scores(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Return scores (N,) by name, of logits (N, K); high for an image of a known class.

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
    """Score images of the run's classes against as many of another source, in a single view.

    The latter are training images, brought to the run's size and channels. The caller has to know
    that the source has no class of the run.

    Args:
        predictor: the network
        subset: images of the run's classes
        source: as the recipe's ``data.source``
        progress: called while the source is downloaded and read

    Returns:
        ``source``, ``data`` (its name), ``n_known`` and ``n_unknown``, the numbers of images of
        the run's classes and of the source, and ``scores``: per row ``name`` and ``auroc``, the
        chance that an image of a known class scores above one of the source.

    Raises:
        DataError: the source can't be opened
    """
    from sklearn.metrics import roc_auc_score

    policy = input_policy(ImagePolicy(), predictor.image_shape, "stretch")
    ood_dataset = open_dataset(source, images=policy, progress=progress)
    ood_images = ood_dataset.read("train")
    indices = space_evenly(np.arange(len(ood_images)), len(subset))
    logits = predictor.logits(subset.images, 1, subset.indices).numpy()
    ood_logits = predictor.logits(ood_images.images, 1, indices).numpy()
    is_known = np.repeat([1, 0], [len(logits), len(ood_logits)])
    scores = ood_scores(np.concatenate([logits, ood_logits]))
    return {
        "source": source,
        "data": ood_dataset.name,
        "n_known": len(logits),
        "n_unknown": len(ood_logits),
        "scores": [
            {"name": name, "auroc": float(roc_auc_score(is_known, values))}
            for name, values in scores.items()
        ],
    }
