"""What test-time views gain, and what they cost (kth2022's further work)."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cifarlab.data.dataset import Subset
from cifarlab.evaluation.measure import score
from cifarlab.inference.predictor import Predictor
from cifarlab.stats.intervals import paired_gain, wilson

NAMES = {1: "none", 2: "flip", 6: "flip and shifts", 10: "ten-crop"}


def views_compared(predictor: Predictor, subset: Subset) -> list[dict[str, Any]]:
    """Each number of views on all of these images, against the first, a single one.

    Per row ``views``, ``name``, ``accuracy`` with ``interval``, ``loss``, ``against_one`` (see
    ``paired_gain``; null for the first) and, under ``cost``, ``seconds`` and ``images_per_second``.
    """
    labels = subset.labels[subset.indices]
    predictor = replace(predictor, tta_threshold=None)
    predictor.logits(subset.images, 1, subset.indices[:256])  # warms up
    first = np.empty(0, dtype=bool)
    rows = []
    for views, name in NAMES.items():
        begun = time.perf_counter()
        logits = predictor.logits(subset.images, views, subset.indices)
        seconds = time.perf_counter() - begun
        right = logits.argmax(1).numpy() == labels
        first = right if views == 1 else first
        total = score(logits, torch.from_numpy(labels))
        rows.append(
            {
                "views": views,
                "name": name,
                "accuracy": total.accuracy,
                "interval": wilson(int(right.sum()), len(labels)),
                "loss": total.loss,
                "against_one": paired_gain(right, first) if views > 1 else None,
                "cost": {"seconds": seconds, "images_per_second": len(labels) / seconds},
            }
        )
    return rows
