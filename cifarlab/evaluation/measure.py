"""What is measured of a split: accuracy, loss, per class and group, confusion, calibration."""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from cifarlab.data.dataset import Subset
from cifarlab.evaluation.groups import Groups, accuracy_by_group, known_groups, proportion
from cifarlab.inference.predictor import Predictor
from cifarlab.metrics.calibration import calibration, find_temperature, log_loss
from cifarlab.metrics.kinds import MetricConfig, measure_metrics, shipped_metrics
from cifarlab.run_folder.predictions import Predictions
from cifarlab.stats.intervals import paired_gain, wilson_interval

# kept as images beside the logits; a report shows the first of them
MISTAKES, CONFIDENT_MISTAKES = 100, 50
TOP = 5
VIEW_NAMES = {1: "none", 2: "flip", 6: "flip and shifts", 10: "ten-crop"}


def predict(predictor: Predictor, subset: Subset, views: int = 1) -> Predictions:
    """Return the logits of a whole subset, and its worst and most confident mistakes as images.

    Args:
        predictor: the network
        subset: the images of one split
        views: as in ``Predictor.logits``
    """
    logits = predictor.logits(subset.images, views, subset.indices)
    labels = subset.labels[subset.indices]
    losses = cross_entropy(logits.double(), torch.from_numpy(labels), reduction="none").numpy()
    mistakes = np.flatnonzero(logits.argmax(1).numpy() != labels)
    mistakes_by_loss = mistakes[np.argsort(-losses[mistakes], kind="stable")]
    confidence = logits[mistakes_by_loss].double().softmax(1).amax(1).numpy()
    most_confident = np.argsort(-confidence, kind="stable")[:CONFIDENT_MISTAKES]
    worst = np.arange(min(MISTAKES, len(mistakes)))
    mistakes = mistakes_by_loss[np.union1d(worst, most_confident)]
    return Predictions(
        classes=predictor.classes,
        fingerprint=subset.fingerprint(),
        logits=logits.numpy(),
        labels=labels,
        indices=subset.indices,
        mistakes=mistakes,
        mistake_images=np.array(subset.images[subset.indices[mistakes]]),
        mistake_names=tuple(subset.names[index] for index in subset.indices[mistakes]),
    )


def measure(
    predictions: Predictions,
    temperature: float | None = None,
    groups: Groups | None = None,
    metrics: Iterable[MetricConfig] = (),
) -> dict[str, Any]:
    """Return one split's object in result.json; intervals are 95 % Wilson score intervals.

    Args:
        predictions: logits and labels of the split
        temperature: fitted on the validation images; None: it is not measured at one
        groups: class names by group; None: those that cifarlab knows for the classes, if any
        metrics: further metrics, of the recipe

    Returns:
        ``n``, ``fingerprint`` (of the images and labels), ``accuracy``, ``interval``, ``loss``,
        ``metrics`` (cifarlab's and the further ones, by name), ``top_k`` (see ``top_k``),
        ``per_class`` (class, n, correct, accuracy, interval; the last two None for a class without
        images), ``std`` (the population's, of the classes' accuracies), ``groups`` (see
        ``accuracy_by_group``; None without groups), ``confusion_matrix`` (rows true, columns
        predicted), ``calibration`` and, at the temperature, ``calibrated``.
    """
    logits_and_labels = logits, labels = predictions.logits, predictions.labels
    classes, k = predictions.classes, len(predictions.classes)
    # as scikit-learn's, which takes a third of a second to import
    confusion_matrix = np.bincount(labels * k + logits.argmax(1), minlength=k * k).reshape(k, k)
    per_class = [
        {"class": name, **proportion(int(row[number]), int(row.sum()))}
        for number, (name, row) in enumerate(zip(classes, confusion_matrix, strict=True))
    ]
    groups = groups or known_groups(classes)
    values = measure_metrics([*shipped_metrics(), *metrics], *logits_and_labels)
    return {
        "n": len(labels),
        "fingerprint": predictions.fingerprint,
        "accuracy": values["accuracy"],
        "interval": wilson_interval(int(confusion_matrix.trace()), len(labels)),
        "loss": values["log_loss"],
        "metrics": values,
        "top_k": top_k(*logits_and_labels),
        "per_class": per_class,
        "std": float(np.std([row["accuracy"] for row in per_class if row["n"]])),
        "groups": accuracy_by_group(confusion_matrix, classes, groups) if groups else None,
        "confusion_matrix": confusion_matrix.tolist(),
        "calibration": calibration(*logits_and_labels),
        "calibrated": None if temperature is None else calibration(*logits_and_labels, temperature),
    }


def top_k(logits: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return the fractions of images whose true class is among the k likeliest: k = 1, 2, ...

    The largest k is 5 or, with fewer classes, K - 1. Of classes with equal logits, the first counts
    as likelier.
    """
    ranking = np.argsort(-logits, axis=1, kind="stable")
    rank = (ranking == labels[:, None]).argmax(1)
    max_k = max(1, min(TOP, logits.shape[1] - 1))
    return [float((rank < k).mean()) for k in range(1, max_k + 1)]


def measure_temperature(validation: Predictions) -> dict[str, Any]:
    """Return result.json's ``temperature``: ``value``, and on these images ``n`` and losses.

    ``nll`` is the negative log-likelihood at that temperature, ``nll_before`` at 1.
    """
    logits_and_labels = validation.logits, validation.labels
    value = find_temperature(*logits_and_labels)
    return {
        "value": value,
        "n": len(validation.labels),
        "nll": log_loss(*logits_and_labels, value),
        "nll_before": log_loss(*logits_and_labels),
    }


def compare_tta(predictor: Predictor, subset: Subset) -> list[dict[str, Any]]:
    """Measure each number of views on all of these images, against a single one (kth2022).

    Returns:
        Rows of ``views``, ``name``, ``accuracy`` with ``interval``, ``loss``,
        ``against_single_view`` (see ``paired_gain``; None for the first) and, under ``cost``,
        ``seconds`` and ``images_per_second``.
    """
    labels = subset.labels[subset.indices]
    predictor = replace(predictor, tta_threshold=None)
    predictor.logits(subset.images, 1, subset.indices[:256])  # warms up
    baseline = np.empty(0, dtype=bool)
    rows = []
    for views, name in VIEW_NAMES.items():
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
