"""Conformal sets: against a slow version, against MAPIE, and by their promise."""

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import RAPSConformityScore
from sklearn.base import BaseEstimator, ClassifierMixin

from cifarlab.metrics.conformal import calibrate, calibrate_percents
from cifarlab.system.errors import DataError, UserError
from cifarlab_serve.conformal import FREE_RANKS, PENALTY, raps_scores

K = 6


def draw_images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right about themselves, and labels drawn from them; 58 % accuracy."""
    rng = np.random.default_rng(seed)
    logits = 1.6 * rng.normal(size=(n, K))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, (probabilities.cumsum(1) < rng.random((n, 1))).sum(1)


def test_scores_are_those_of_a_slow_version() -> None:
    probabilities, _ = draw_images(200, 0)
    probabilities[0] = 1 / K  # of equal ones the first is likelier
    for row, scores in zip(probabilities.tolist(), raps_scores(probabilities), strict=True):
        ranked = sorted(range(K), key=lambda k: (-row[k], k))
        for rank, k in enumerate(ranked, 1):
            before = sum(row[other] for other in ranked[: rank - 1])
            assert scores[k] == pytest.approx(before + PENALTY * max(0, rank - FREE_RANKS))


def test_scores_and_threshold_are_mapies_without_its_random_part() -> None:
    probabilities, labels = draw_images(999, 1)
    theirs = RAPSConformityScore()
    up_to, rank = theirs.get_true_label_cumsum_proba(labels, probabilities, np.arange(K))
    label_probability = probabilities[np.arange(999), labels][:, None]
    free_ranks = np.array([FREE_RANKS])
    scores = theirs._regularize_conformity_score(
        free_ranks, PENALTY, up_to - label_probability, rank
    )[:, 0, 0]
    assert np.allclose(raps_scores(probabilities)[np.arange(999), labels], scores)
    for coverage in (0.5, 0.9, 0.95):
        threshold = np.quantile(scores, np.ceil(1000 * coverage) / 999, method="inverted_cdf")
        assert calibrate(probabilities, labels, coverage).threshold == pytest.approx(threshold)


class _Estimator(ClassifierMixin, BaseEstimator):
    """What MAPIE asks for: a fitted estimator, here of probabilities that are there already."""

    classes_ = np.arange(K)

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "_Estimator":
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        return features.argmax(1)

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return features


def test_sets_cover_as_mapies_do_and_are_no_larger() -> None:
    calibration, (probabilities, labels) = draw_images(4_000, 2), draw_images(20_000, 3)
    mapie = SplitConformalClassifier(
        _Estimator(), confidence_level=0.9, conformity_score="raps", prefit=True, random_state=0
    )
    mapie.conformalize(*calibration)
    theirs = mapie.predict_set(probabilities)[1][:, :, 0]
    ours = calibrate(*calibration, 0.9).sets(probabilities)
    rows = np.arange(len(labels))
    for sets in (ours, theirs):
        assert sets[rows, labels].mean() > 0.885
    assert ours[rows, labels].mean() < 0.915  # theirs cover more than was asked
    assert ours.sum(1).mean() <= theirs.sum(1).mean()


def test_coverage_over_calibrations_is_on_average_as_promised() -> None:
    means = []
    for seed in range(300):
        probabilities, labels = draw_images(99 + 200, 100 + seed)
        sets = calibrate(probabilities[:99], labels[:99], 0.9).sets(probabilities[99:])
        means.append(sets[np.arange(200), labels[99:]].mean())
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - 0.9) < 4 * error < 0.015  # rank 90 of 100


def test_the_likeliest_class_is_in_each_set_and_a_larger_coverage_has_larger_sets() -> None:
    probabilities, labels = draw_images(500, 4)
    sets = [calibrate(probabilities, labels, c).sets(probabilities) for c in (0.1, 0.6, 0.95)]
    assert all(s[np.arange(500), probabilities.argmax(1)].all() for s in sets)
    assert (sets[0] <= sets[1]).all()
    assert (sets[1] <= sets[2]).all()
    assert sets[0].sum() < sets[1].sum() < sets[2].sum()


def test_where_the_network_is_right_often_enough_a_note_says_that_sets_have_one_class() -> None:
    probabilities, labels = draw_images(500, 8)
    accuracy = (probabilities.argmax(1) == labels).mean()
    below = calibrate(probabilities, labels, accuracy - 0.02)
    assert below.note
    assert below.note.startswith(f"note: the likeliest class is right on {100 * below.coverage:g}")
    assert (below.sets(probabilities).sum(1) == 1).all()
    above = calibrate(probabilities, labels, accuracy + 0.02)
    assert above.note is None
    assert (above.sets(probabilities).sum(1) > 1).any()


def test_nine_images_show_nine_tenths_and_eight_do_not() -> None:
    probabilities, labels = draw_images(9, 5)
    scores = raps_scores(probabilities)[np.arange(9), labels]
    assert calibrate(probabilities, labels, 0.9).threshold == scores.max()
    with pytest.raises(DataError, match=r"8 validation images can't show a coverage of 0\.9") as e:
        calibrate(probabilities[:8], labels[:8], 0.9)
    assert e.value.hint.startswith("it takes 9:")


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90.0, float("nan")])
def test_a_coverage_is_a_fraction(coverage: float) -> None:
    with pytest.raises(UserError, match="is no fraction"):
        calibrate(*draw_images(50, 6), coverage)


@pytest.mark.parametrize(("n", "highest"), [(1, 50), (9, 90), (98, 98), (99, 99), (1000, 99)])
def test_percents_are_those_that_so_many_images_can_show(n: int, highest: int) -> None:
    probabilities, labels = draw_images(n, 7)
    thresholds = calibrate_percents(probabilities, labels)["thresholds"]
    for percent, threshold in enumerate(thresholds, 1):
        assert calibrate(probabilities, labels, percent / 100).threshold == threshold
    assert len(thresholds) == highest
