"""Out-of-distribution detection: whether a network notices images of none of its classes."""

from typing import Any

import numpy as np

from cifarlab.data.dataset import Progress, Subset
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.opening import open_dataset
from cifarlab.evaluation.shift import space_evenly
from cifarlab.inference.inputs import input_policy
from cifarlab.inference.predictor import Predictor
from cifarlab.metrics.calibration import scaled_softmax


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
