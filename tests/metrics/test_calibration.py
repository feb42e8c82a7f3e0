"""Calibration against textbook loops, on random logits; the temperature against a fine grid."""

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss

from cifarlab.metrics.calibration import (
    BINS,
    brier_score,
    calibration,
    expected_calibration_error,
    find_temperature,
    log_loss,
    reliability_bins,
    scaled_softmax,
)


def random_logits(seed: int, n: int = 300, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, classes, n)
    logits = draws.normal(0, 2, (n, classes))
    logits[np.arange(n), labels] += 1.5
    return logits.astype(np.float32), labels


def softmax(row: np.ndarray, temperature: float) -> list[float]:
    powers = [math.exp(float(value) / temperature) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_scores_are_the_textbook_formulas(seed: int, temperature: float) -> None:
    logits, labels = random_logits(seed)
    probabilities = [softmax(row, temperature) for row in logits]
    nll, squares = 0.0, 0.0
    counts, sure, correct = [0] * BINS, [0.0] * BINS, [0] * BINS
    for row, label in zip(probabilities, labels, strict=True):
        nll -= math.log(row[label])
        squares += sum((p - (k == label)) ** 2 for k, p in enumerate(row))
        bin_index = next(b for b in range(BINS) if max(row) <= (b + 1) / BINS)
        counts[bin_index] += 1
        sure[bin_index] += max(row)
        correct[bin_index] += row.index(max(row)) == label
    gaps = [abs(s - r) for s, r in zip(sure, correct, strict=True)]
    scores = calibration(logits, labels, temperature)
    assert scores["nll"] == pytest.approx(nll / len(labels))
    assert scores["brier"] == pytest.approx(squares / len(labels))
    assert scores["ece"] == pytest.approx(sum(gaps) / len(labels))
    assert scores["temperature"] == temperature
    assert [row["n"] for row in scores["bins"]] == counts
    for row, n, s, r in zip(scores["bins"], counts, sure, correct, strict=True):
        assert row["confidence"] == (pytest.approx(s / n) if n else None)
        assert row["accuracy"] == (pytest.approx(r / n) if n else None)


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_is_that_of_scikit_learn(seed: int) -> None:
    logits, labels = random_logits(seed)
    expected = sklearn_log_loss(labels, scaled_softmax(logits, 2.0))
    assert log_loss(logits, labels, 2.0) == pytest.approx(expected, rel=1e-10)


def test_a_sure_and_right_network_has_no_error() -> None:
    labels = np.array([0, 1, 2])
    logits = (1000 * np.eye(3)).astype(np.float32)
    scores = calibration(logits, labels)
    assert scores["nll"] == scores["brier"] == scores["ece"] == 0.0


def test_a_sure_and_wrong_network_has_the_largest() -> None:
    probabilities = np.eye(2)[[0, 0, 0]]
    labels = np.array([1, 1, 1])
    assert brier_score(probabilities, labels) == 2.0
    assert expected_calibration_error(reliability_bins(probabilities, labels)) == 1.0


def test_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    probabilities = np.array([[1 / 3, 1 / 3, 1 / 3], [0.6, 0.2, 0.2]])
    counts = [row["n"] for row in reliability_bins(probabilities, np.array([0, 0]))]
    assert counts[4] == 1 and counts[8] == 1 and sum(counts) == 2


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_of_the_labels_is_fitted(true: float) -> None:
    draws = np.random.default_rng(0)
    logits = draws.normal(0, 4, (20_000, 4)).astype(np.float32)
    probabilities = scaled_softmax(logits, true)
    labels = (draws.random((20_000, 1)) > probabilities.cumsum(1)[:, :-1]).sum(1)
    assert find_temperature(logits, labels) == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_no_temperature_of_a_fine_grid_is_better(seed: int) -> None:
    logits, labels = random_logits(seed)
    fitted = log_loss(logits, labels, find_temperature(logits, labels))
    grid = np.geomspace(0.05, 20, 400)
    assert fitted <= min(log_loss(logits, labels, float(t)) for t in grid) + 1e-9


def test_a_temperature_changes_no_prediction() -> None:
    logits, _ = random_logits(0)
    for temperature in (0.1, 7.0):
        hot = scaled_softmax(logits, temperature)
        assert (hot.argmax(1) == logits.argmax(1)).all()
        assert np.allclose(hot.sum(1), 1)


def test_separable_validation_images_end_at_the_bound() -> None:
    logits = np.eye(3, dtype=np.float32)
    assert 0.019 < find_temperature(logits, np.arange(3)) < 0.03
