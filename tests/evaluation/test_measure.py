"""What is measured of a split, against scikit-learn, closed formulas and plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from cifarlab.evaluation.measure import measure
from cifarlab.run_folder.predictions import Predictions
from cifarlab.stats.intervals import wilson_interval

CLASSES = ("ant", "bee", "cat", "dog")


def predictions(logits: np.ndarray, labels: np.ndarray) -> Predictions:
    nothing = np.empty(0, dtype=np.int64)
    images = np.empty((0, 8, 8, 1), dtype=np.uint8)
    indices = np.arange(len(labels))
    return Predictions(CLASSES[: logits.shape[1]], logits, labels, indices, nothing, images)


def draw_predictions(seed: int, n: int = 200, classes: int = 4) -> Predictions:
    draws = np.random.default_rng(seed)
    logits = draws.normal(0, 3, (n, classes)).astype(np.float32)
    return predictions(logits, draws.integers(0, classes, n))


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_loss_are_those_of_scikit_learn(seed: int) -> None:
    drawn_predictions = draw_predictions(seed)
    measured = measure(drawn_predictions)
    probs = torch.from_numpy(drawn_predictions.logits).double().softmax(1).numpy()
    assert measured["n"] == 200
    assert measured["accuracy"] == accuracy_score(
        drawn_predictions.labels, drawn_predictions.logits.argmax(1)
    )
    assert measured["loss"] == pytest.approx(log_loss(drawn_predictions.labels, probs), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_confusion_has_a_row_per_true_class(seed: int) -> None:
    drawn_predictions = draw_predictions(seed)
    counts = [[0] * 4 for _ in range(4)]
    for row, label in zip(drawn_predictions.logits, drawn_predictions.labels, strict=True):
        counts[label][int(np.argmax(row))] += 1
    measured = measure(drawn_predictions)
    assert measured["confusion_matrix"] == counts
    assert (
        measured["confusion_matrix"]
        == confusion_matrix(drawn_predictions.labels, drawn_predictions.logits.argmax(1)).tolist()
    )
    assert counts != np.transpose(counts).tolist()  # else the orientation is not tested


def test_per_class_counts_by_hand() -> None:
    logits = np.eye(4, dtype=np.float32)[[0, 0, 1, 2, 2, 2]]  # predicted
    measured = measure(predictions(logits, np.array([0, 1, 1, 2, 2, 0])))
    assert [(row["class"], row["n"], row["correct"]) for row in measured["per_class"]] == [
        ("ant", 2, 1),
        ("bee", 2, 1),
        ("cat", 2, 2),
        ("dog", 0, 0),
    ]
    assert [row["accuracy"] for row in measured["per_class"]] == [0.5, 0.5, 1.0, None]
    assert measured["per_class"][3]["interval"] is None
    assert measured["per_class"][2]["interval"] == wilson_interval(2, 2)
    assert measured["confusion_matrix"] == [[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (1, 1), (37, 50), (9999, 10000)])
def test_wilson_interval_is_the_closed_formula(correct: int, n: int) -> None:
    z, proportion = 1.959963984540054, correct / n
    centre = (proportion + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
    assert wilson_interval(correct, n) == pytest.approx([centre - half, centre + half], abs=1e-12)


def test_interval_belongs_to_the_accuracy() -> None:
    drawn_predictions = draw_predictions(0)
    measured = measure(drawn_predictions)
    correct = int((drawn_predictions.logits.argmax(1) == drawn_predictions.labels).sum())
    assert measured["interval"] == wilson_interval(correct, 200)


def test_std_is_that_of_the_classes_with_images() -> None:
    logits = np.eye(4, dtype=np.float32)[[0, 0, 1, 2, 2, 2]]
    measured = measure(predictions(logits, np.array([0, 1, 1, 2, 2, 0])))
    assert measured["std"] == pytest.approx(np.std([0.5, 0.5, 1.0]))


def test_asha2021s_std_is_that_of_its_table() -> None:
    accuracies = [52.4, 65.2, 41.5, 62.4, 60.2, 80.1, 63.8, 77.0, 72.0, 69.2]
    assert np.std(accuracies) == pytest.approx(10.8, abs=0.05)  # of the population, as measured


def test_groups_are_known_by_the_classes() -> None:
    names = ("airplane", "automobile", "bird", "cat", "deer")
    more = ("dog", "frog", "horse", "ship", "truck")
    drawn_predictions = draw_predictions(0, classes=10)
    groups = measure(replace(drawn_predictions, classes=(*names, *more)))["groups"]
    assert [row["group"] for row in groups] == ["animals", "vehicles"]
    animals = np.isin(drawn_predictions.labels, [2, 3, 4, 5, 6, 7])
    right = drawn_predictions.logits.argmax(1) == drawn_predictions.labels
    assert groups[0]["accuracy"] == right[animals].mean()
    assert groups[0]["n"] + groups[1]["n"] == 200


def test_a_temperature_is_measured_beside() -> None:
    drawn_predictions = draw_predictions(0)
    assert measure(drawn_predictions)["calibrated"] is None
    measured = measure(drawn_predictions, 2.0)
    assert measured["calibrated"]["temperature"] == 2.0
    assert (
        measured["calibrated"]["nll"]
        != measured["calibration"]["nll"]
        == pytest.approx(measured["loss"])
    )
