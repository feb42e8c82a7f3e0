"""Whether probabilities are to be believed: scores, reliability, and the temperature that helps.

Guo et al. 2017 (arXiv:1706.04599). Pure functions of logits float (N, K) and labels int (N,).
"""

from typing import Any

import numpy as np

from cifarlab.inference.predictor import probabilities

BINS = 15  # of equal width over the confidence 0..1, as Guo et al. have them
_COLDEST, _HOTTEST = 0.02, 50.0


def log_loss(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood in nats."""
    from scipy.special import log_softmax

    logs = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-logs[np.arange(len(labels)), labels].mean())


def brier(shares: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance, 0..2, of the probabilities (N, K) to the true class's corner.

    Brier 1950, summed over the classes.
    """
    truth = np.eye(shares.shape[1])[labels]
    return float(((shares - truth) ** 2).sum(1).mean())


def reliability(shares: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Per bin of confidence (low, high]: ``n``, mean ``confidence``, ``accuracy``; null if empty.

    The confidence is the likeliest class's probability; ``shares`` are (N, K).
    """
    confidence, right = shares.max(1), shares.argmax(1) == labels
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    rows = []
    for number in range(BINS):
        inside = place == number
        n = int(inside.sum())
        rows.append(
            {
                "low": number / BINS,
                "high": (number + 1) / BINS,
                "n": n,
                "confidence": float(confidence[inside].mean()) if n else None,
                "accuracy": float(right[inside].mean()) if n else None,
            }
        )
    return rows


def expected_error(bins: list[dict[str, Any]]) -> float:
    """Expected calibration error, 0..1: the bins' gaps, weighted by their images.

    Naeini et al. 2015; Guo et al. 2017, equation 3.
    """
    n = sum(row["n"] for row in bins)
    gaps = [row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins if row["n"]]
    return sum(gaps) / n


def calibration(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> dict[str, Any]:
    """``temperature``, ``nll``, ``brier``, ``ece`` and ``bins`` (see ``reliability``)."""
    shares = probabilities(logits, temperature)
    bins = reliability(shares, labels)
    return {
        "temperature": temperature,
        "nll": log_loss(logits, labels, temperature),
        "brier": brier(shares, labels),
        "ece": expected_error(bins),
        "bins": bins,
    }


def fitted_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the least negative log-likelihood, to be fitted on validation alone.

    Above 1 the network was too sure. Between 0.02 and 50: where nothing is wrong, the least loss
    lies at zero.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: log_loss(logits, labels, float(np.exp(log))),
        bounds=(np.log(_COLDEST), np.log(_HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))
