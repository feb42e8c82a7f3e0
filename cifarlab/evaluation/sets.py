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
        ``target``, ``threshold``, ``n_calibration`` and ``note`` of the sets; ``n``, ``coverage``
        with its Wilson ``interval``, ``mean_size``, ``sizes`` (images by the size of their set,
        from 1 on), ``per_class`` (the first four of each class) and ``single_class``, the images
        whose set has one class alone: ``fraction`` of all, ``n``, ``correct``, ``accuracy``,
        ``interval``.
    """
    sets = conformal.sets(probabilities)
    size, covered = sets.sum(1), sets[np.arange(len(labels)), labels]
    is_single = size == 1
    per_class = [
        {"class": name, **_coverage(covered[labels == number], size[labels == number])}
        for number, name in enumerate(classes)
    ]
    return {
        "target": conformal.coverage,
        "threshold": conformal.threshold,
        "n_calibration": conformal.n_calibration,
        "note": conformal.note,
        **_coverage(covered, size),
        "sizes": np.bincount(size, minlength=len(classes) + 1)[1:].tolist(),
        "per_class": per_class,
        "single_class": {
            "fraction": float(is_single.mean()),
            **proportion(int((covered & is_single).sum()), int(is_single.sum())),
        },
    }


def _coverage(covered: np.ndarray, size: np.ndarray) -> dict[str, Any]:
    """Return ``n``, ``coverage``, ``interval`` and ``mean_size`` of some images; None without."""
    figures = proportion(int(covered.sum()), len(covered))
    mean_size = float(size.mean()) if len(size) else None
    return {
        "n": figures["n"],
        "coverage": figures["accuracy"],
        "interval": figures["interval"],
        "mean_size": mean_size,
    }
