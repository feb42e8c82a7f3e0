"""The ranking of labels against confident learning written out, and its precision where known."""

import sys

import numpy as np
import pytest

from cifarlab.audit.labels import evaluate_ranking, rank_labels
from cifarlab.system.errors import MissingExtraError


def draw_labels(
    seed: int, n: int = 400, classes: int = 4, noise_rate: float = 0.1, skill: float = 3.0
):
    """Given labels, out-of-fold probabilities, and which labels are wrong."""
    draws = np.random.default_rng(seed)
    true = draws.integers(0, classes, n)
    labels = np.where(draws.random(n) < noise_rate, (true + 1) % classes, true)
    logits = draws.normal(size=(n, classes))
    logits[np.arange(n), true] += skill
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, probs, labels != true


@pytest.mark.parametrize("seed", range(3))
def test_the_quality_is_the_margin_of_the_given_class(seed: int) -> None:
    labels, probs, _ = draw_labels(seed)
    result = rank_labels(labels, probs)
    for row, label, quality in zip(probs, labels, result.quality, strict=True):
        best_other = max(value for k, value in enumerate(row) if k != label)
        assert quality == pytest.approx((row[label] - best_other + 1) / 2)
    assert (np.diff(result.quality[result.order]) >= 0).all()
    assert sorted(result.order) == list(range(len(labels)))


@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_is_near_confident_learning_written_out(seed: int) -> None:
    labels, probs, is_wrong = draw_labels(seed, n=2000, skill=5.0)
    thresholds = [probs[labels == k, k].mean() for k in range(4)]
    off_diagonal = 0
    for row, label in zip(probs, labels, strict=True):
        confident_classes = [k for k in range(4) if row[k] >= thresholds[k]]
        if confident_classes and max(confident_classes, key=lambda k: row[k]) != label:
            off_diagonal += 1
    assert off_diagonal == pytest.approx(is_wrong.sum(), rel=0.25)
    # cleanlab scales the joint to the classes' sizes, so the two differ a little
    assert rank_labels(labels, probs).n_label_issues == pytest.approx(off_diagonal, rel=0.15)


def test_a_good_network_finds_most_wrong_labels() -> None:
    labels, probs, is_wrong = draw_labels(0, skill=8.0)
    result = evaluate_ranking(rank_labels(labels, probs).order, is_wrong)
    assert result["precision"] > 0.95 and result["chance"] == is_wrong.mean()


def test_guessing_finds_as_many_as_chance() -> None:
    is_wrong = draw_labels(0, n=4000, skill=0.0)[2]
    order = np.random.default_rng(1).permutation(4000)
    result = evaluate_ranking(order, is_wrong)
    assert result["precision"] == pytest.approx(result["chance"], abs=0.05)


def test_precision_and_recall_by_hand() -> None:
    is_wrong = np.array([True, False, True, False, True, False, False, True])
    result = evaluate_ranking(np.arange(8), is_wrong)
    assert (result["n_wrong"], result["true_positives"]) == (4, 2)
    assert result["precision"] == result["recall"] == result["chance"] == 0.5
    assert [(row["suspects"], row["precision"], row["recall"]) for row in result["curve"]] == [
        (1, 1.0, 0.25),
        (2, 0.5, 0.25),
        (4, 0.5, 0.5),
        (8, 0.5, 1.0),
        (8, 0.5, 1.0),
    ]


def test_without_known_errors_there_is_no_evaluation() -> None:
    assert evaluate_ranking(np.arange(3), np.zeros(3, dtype=bool)) is None


@pytest.mark.filterwarnings("ignore:May not flag")
def test_a_class_without_labels() -> None:
    labels, probs, _ = draw_labels(0)
    has_label = labels != 2
    assert len(rank_labels(labels[has_label], probs[has_label]).order) == has_label.sum()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingExtraError, match="cleanlab"):
        rank_labels(*draw_labels(0)[:2])
