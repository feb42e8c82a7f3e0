"""Out-of-distribution detection: whether a network notices images of none of its classes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cifarlab.data.dataset import Progress, Subset
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.opening import open_dataset
from cifarlab.evaluation.shift import space_evenly
from cifarlab.inference.predictor import Predictor
from cifarlab.metrics.calibration import scaled_softmax


def max_probability(logits: np.ndarray) -> np.ndarray:
    """Hendrycks & Gimpel 2017: (N,) of logits (N, K), as all scores; high: a known class."""
    return scaled_softmax(logits).max(1)


def max_logit(logits: np.ndarray) -> np.ndarray:
    """Hendrycks et al. 2022 (arXiv:1911.11132)."""
    return logits.max(1)


def negative_energy(logits: np.ndarray) -> np.ndarray:
    """Liu et al. 2020 (arXiv:2010.03759), temperature 1: the logarithm of the sum of exp."""
    from scipy.special import logsumexp

    return logsumexp(logits.astype(np.float64), axis=1)


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "largest probability": max_probability,
    "largest logit": max_logit,
    "energy": negative_energy,
}


def measure_ood(
    predictor: Predictor, subset: Subset, source: str, progress: Progress | None
) -> dict[str, Any]:
    """Score known images against as many of another source, of their size and channels; 1 view.

    ``source``, ``data`` (its name), ``known``, ``unknown`` (their numbers), and ``scores``: per
    row ``name`` and ``auroc``, the chance that a known image scores above an unknown one. Takes
    the source's training images; that it shares no class with the run is the caller's to know.
    Raises DataError.
    """
    from sklearn.metrics import roc_auc_score

    side, _, channels = predictor.image_shape
    policy = ImagePolicy(
        size=side, resize_mode="stretch", channels="grey" if channels == 1 else "rgb"
    )
    ood_dataset = open_dataset(source, images=policy, progress=progress)
    ood_images = ood_dataset.read("train")
    indices = space_evenly(np.arange(len(ood_images)), len(subset))
    known = predictor.logits(subset.images, 1, subset.indices).numpy()
    unknown = predictor.logits(ood_images.images, 1, indices).numpy()
    is_known = np.repeat([1, 0], [len(known), len(unknown)])
    all_logits = np.concatenate([known, unknown])
    rows = [
        {"name": name, "auroc": float(roc_auc_score(is_known, score(all_logits)))}
        for name, score in SCORES.items()
    ]
    return {
        "source": source,
        "data": ood_dataset.name,
        "known": len(known),
        "unknown": len(unknown),
        "scores": rows,
    }
