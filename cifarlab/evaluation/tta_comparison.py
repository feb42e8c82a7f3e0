"""What test-time augmentation gains, and what it costs (kth2022's further work)."""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from cifarlab.data.dataset import Subset
from cifarlab.inference.predictor import Predictor
from cifarlab.metrics.calibration import log_loss
from cifarlab.stats.intervals import paired_gain, wilson_interval

NAMES = {1: "none", 2: "flip", 6: "flip and shifts", 10: "ten-crop"}


def compare_tta(predictor: Predictor, subset: Subset) -> list[dict[str, Any]]:
    """Measure each number of views on all of these images, against a single view.

    Per row ``views``, ``name``, ``accuracy`` with ``interval``, ``loss``, ``against_single_view``
    (see ``paired_gain``; null for the first) and, under ``cost``, ``seconds`` and
    ``images_per_second``.
    """
    labels = subset.labels[subset.indices]
    predictor = replace(predictor, tta_threshold=None)
    predictor.logits(subset.images, 1, subset.indices[:256])  # warms up
    baseline = np.empty(0, dtype=bool)
    rows = []
    for views, name in NAMES.items():
        start = time.perf_counter()
        logits = predictor.logits(subset.images, views, subset.indices).numpy()
        seconds = time.perf_counter() - start
        correct = logits.argmax(1) == labels
        baseline = correct if views == 1 else baseline
        rows.append(
            {
                "views": views,
                "name": name,
                "accuracy": float(correct.mean()),
                "interval": wilson_interval(int(correct.sum()), len(labels)),
                "loss": log_loss(logits, labels),
                "against_single_view": paired_gain(correct, baseline) if views > 1 else None,
                "cost": {"seconds": seconds, "images_per_second": len(labels) / seconds},
            }
        )
    return rows
