"""Conformal sets on images that their threshold was not found on: coverage and sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarlab.evaluation.groups import proportion
from cifarlab.metrics.conformal import Conformal


def measure_sets(
    conformal: Conformal, probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Measure the sets of images.

    Args:
        conformal: threshold of the sets
        probabilities: of the images, (N, K)
        labels: the images' classes (N,)
        classes: names of the K classes

    Returns:
        ``target``, ``threshold`` and ``n_calibration`` of the sets; ``n``, ``coverage`` with its
        Wilson ``interval``, ``mean_size``, ``sizes`` (images by the size of their set, from 1 on),
        ``per_class`` (the first four of each class) and ``named``, the images whose set is a single
        class: ``fraction`` of all, ``n``, ``correct``, ``accuracy``, ``interval``.
    """
    sets = conformal.sets(probabilities)
    size, covered = sets.sum(1), sets[np.arange(len(labels)), labels]
    named = size == 1
    per_class = [
        {"class": name, **_coverage(covered[labels == number], size[labels == number])}
        for number, name in enumerate(classes)
    ]
    return {
        "target": conformal.coverage,
        "threshold": conformal.threshold,
        "n_calibration": conformal.n,
        **_coverage(covered, size),
        "sizes": np.bincount(size, minlength=len(classes) + 1)[1:].tolist(),
        "per_class": per_class,
        "named": {
            "fraction": float(named.mean()),
            **proportion(int((covered & named).sum()), int(named.sum())),
        },
    }


def _coverage(covered: np.ndarray, size: np.ndarray) -> dict[str, Any]:
    """Return ``n``, ``coverage``, ``interval`` and ``mean_size`` of some images; None without."""
    share = proportion(int(covered.sum()), len(covered))
    mean_size = float(size.mean()) if len(size) else None
    return {
        "n": share["n"],
        "coverage": share["accuracy"],
        "interval": share["interval"],
        "mean_size": mean_size,
    }
