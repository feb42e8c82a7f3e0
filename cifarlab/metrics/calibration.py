"""Calibration of probabilities: scores, reliability bins, and the temperature that corrects them.

Guo et al. 2017 (arXiv:1706.04599). Pure functions of logits float (N, K) and labels int (N,).
"""

from typing import Any

import numpy as np

BINS = 15  # of equal width over confidences 0..1, as in Guo et al.
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.02, 50.0


def scaled_softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the softmax of the logits over the temperature: float64 (N, K)."""
    from scipy.special import softmax

    probabilities: np.ndarray = softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities


def log_loss(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood in nats, computed in double precision.

    Args:
        logits: (N, K)
        labels: (N,)
        temperature: divides the logits
    """
    import torch
    from torch.nn.functional import cross_entropy

    scaled = torch.from_numpy(logits).double() / temperature
    return float(cross_entropy(scaled, torch.from_numpy(labels)))


def image_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the negative log-likelihood of each image in nats: float64 (N,)."""
    from scipy.special import log_softmax

    losses: np.ndarray = -log_softmax(logits.astype(np.float64), axis=1)
    return losses[np.arange(len(labels)), labels]


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared distance, 0..2, of probabilities (N, K) to the one-hot labels.

    Brier 1950: summed over the classes, averaged over the images.
    """
    targets = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - targets) ** 2).sum(1).mean())


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Return for each bin of confidence (low, high] its ``n`` images and their two means.

    These are ``confidence``, the probability of the likeliest class, and ``accuracy``; None for an
    empty bin. ``probabilities`` are (N, K).
    """
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    bin_index = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    rows: list[dict[str, Any]] = []
    for index in range(BINS):
        in_bin = bin_index == index
        n = int(in_bin.sum())
        row: dict[str, Any] = {"low": index / BINS, "high": (index + 1) / BINS, "n": n}
        for name, values in (("confidence", confidence), ("accuracy", correct)):
            row[name] = float(values[in_bin].mean()) if n else None
        rows.append(row)
    return rows


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """Return the expected calibration error, 0..1: the bins' gaps, weighted by their images.

    Naeini et al. 2015; Guo et al. 2017, equation 3.
    """
    n = sum(row["n"] for row in bins)
    gaps = [row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins if row["n"]]
    return sum(gaps) / n


def calibration(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> dict[str, Any]:
    """Return ``temperature``, ``nll``, ``brier``, ``ece`` and ``bins`` (see ``reliability_bins``).

    Args:
        logits: (N, K)
        labels: (N,)
        temperature: divides the logits
    """
    probabilities = scaled_softmax(logits, temperature)
    bins = reliability_bins(probabilities, labels)
    return {
        "temperature": temperature,
        "nll": log_loss(logits, labels, temperature),
        "brier": brier_score(probabilities, labels),
        "ece": expected_calibration_error(bins),
        "bins": bins,
    }


def find_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of the least negative log-likelihood; fit it on validation images.

    Above 1 the network was too sure. It is at least 0.02 and at most 50, as without any error the
    loss falls towards a temperature of 0.
    """
    from scipy.optimize import minimize_scalar

    result = minimize_scalar(
        lambda log: log_loss(logits, labels, float(np.exp(log))),
        bounds=(np.log(_MIN_TEMPERATURE), np.log(_MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(result.x))
