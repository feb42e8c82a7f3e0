"""What is measured of a split: accuracy, loss, per class, confusion."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cifarlab.data.splits import Subset
from cifarlab.evaluate.predictor import Predictor
from cifarlab.run import Predictions

MISTAKES = 100  # kept as images beside the logits; a report shows the first of them


class Score(NamedTuple):
    """Accuracy, 0..1, and mean cross-entropy in nats."""

    accuracy: float
    loss: float


def score(logits: Tensor, labels: Tensor) -> Score:
    """Of logits (N, K) and labels (N,)."""
    correct = int((logits.argmax(1) == labels).sum())
    return Score(correct / len(labels), float(cross_entropy(logits.double(), labels)))


def predict(
    predictor: Predictor, subset: Subset, views: int = 1, unsure: float = 1.0
) -> Predictions:
    """Logits of a whole subset, and its worst mistakes as images.

    ``views`` and ``unsure`` as in ``Predictor.logits``.
    """
    logits = predictor.logits(subset.images, views, subset.indices, unsure)
    labels = subset.labels[subset.indices]
    losses = cross_entropy(logits.double(), torch.from_numpy(labels), reduction="none").numpy()
    wrong = np.flatnonzero(logits.argmax(1).numpy() != labels)
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:MISTAKES]
    return Predictions(
        classes=predictor.classes,
        fingerprint=subset.fingerprint(),
        logits=logits.numpy(),
        labels=labels,
        indices=subset.indices,
        mistakes=worst,
        mistake_images=np.array(subset.images[subset.indices[worst]]),
    )


def measure(predictions: Predictions) -> dict[str, Any]:
    """One split's object in result.json; intervals are 95 % Wilson score intervals.

    ``n``, ``fingerprint`` (of the images and labels), ``accuracy``, ``interval``, ``loss``,
    ``per_class`` (class, n, correct, accuracy, interval; null for a class without images) and
    ``confusion`` (rows true, columns predicted).
    """
    from sklearn.metrics import confusion_matrix

    logits, labels = torch.from_numpy(predictions.logits), torch.from_numpy(predictions.labels)
    total = score(logits, labels)
    count = len(predictions.classes)
    confusion = confusion_matrix(labels, logits.argmax(1), labels=list(range(count)))
    per_class = []
    for name, row, correct in zip(
        predictions.classes, confusion, confusion.diagonal(), strict=True
    ):
        n, right = int(row.sum()), int(correct)
        per_class.append(
            {
                "class": name,
                "n": n,
                "correct": right,
                "accuracy": right / n if n else None,
                "interval": wilson(right, n) if n else None,
            }
        )
    return {
        "n": len(labels),
        "fingerprint": predictions.fingerprint,
        "accuracy": total.accuracy,
        "interval": wilson(int(confusion.trace()), len(labels)),
        "loss": total.loss,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def wilson(correct: int, n: int) -> list[float]:
    """95 % Wilson score interval of a share, [low, high] (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]
