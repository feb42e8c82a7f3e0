"""Metrics against scikit-learn's and plain loops; every kind against what its users ask of it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from made_plugin import known
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    top_k_accuracy_score,
)
from sklearn.metrics import log_loss as sklearn_log_loss

from cifarlab.config.family import set_kind_owner
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.metrics.kinds import (
    Accuracy,
    BalancedAccuracy,
    CalibrationError,
    LogLoss,
    MacroF1,
    MetricConfig,
    TopK,
    measure_metrics,
    shipped_metrics,
)
from cifarlab.recipes.text import build, to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import read_runs
from cifarlab.system.errors import RecipeError
from cifarlab.training.train import train

of_each_kind = pytest.mark.parametrize("metric", known(MetricConfig), ids=lambda m: m.kind)


def random_logits(seed: int, n: int = 120, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits better than chance, of classes of unlike sizes, the last without an image."""
    draws = np.random.default_rng(seed)
    labels = draws.choice(classes - 1, n, p=np.arange(1, classes) / sum(range(classes)))
    logits = draws.normal(0, 2, (n, classes))
    logits[np.arange(n), labels] += 1.5
    return logits.astype(np.float32), labels


def slow_calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    error, bins = 0.0, [[] for _ in range(15)]
    for row, label in zip(scaled_softmax(logits), labels, strict=True):
        index = next(b for b in range(15) if row.max() <= (b + 1) / 15)
        bins[index].append((row.max(), float(row.argmax() == label)))
    for pairs in filter(None, bins):
        sure, right = np.mean(pairs, axis=0)
        error += len(pairs) / len(labels) * abs(sure - right)
    return error


SLOW: dict[MetricConfig, Callable] = {
    Accuracy(): lambda z, y: accuracy_score(y, z.argmax(1)),
    BalancedAccuracy(): lambda z, y: balanced_accuracy_score(y, z.argmax(1)),
    MacroF1(): lambda z, y: f1_score(y, z.argmax(1), average="macro"),
    LogLoss(): lambda z, y: sklearn_log_loss(y, scaled_softmax(z), labels=range(z.shape[1])),
    CalibrationError(): slow_calibration_error,
    TopK(): lambda z, y: top_k_accuracy_score(y, z, k=5, labels=range(z.shape[1])),
    TopK(k=2): lambda z, y: top_k_accuracy_score(y, z, k=2, labels=range(z.shape[1])),
}


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", SLOW, ids=lambda m: m.name)
def test_it_is_the_slow_version(metric: MetricConfig, seed: int) -> None:
    logits, labels = random_logits(seed)
    assert metric.value(logits, labels) == pytest.approx(SLOW[metric](logits, labels), rel=1e-10)


def test_every_shipped_metric_has_a_slow_version() -> None:
    assert {type(metric) for metric in SLOW} == {type(metric) for metric in shipped_metrics()}


def test_top_k_of_all_classes_is_1_and_of_equal_logits_the_first_counts() -> None:
    logits, labels = np.zeros((4, 4), dtype=np.float32), np.arange(4)
    assert [TopK(k=k).value(logits, labels) for k in (1, 2, 4, 9)] == [0.25, 0.5, 1, 1]


def test_log_loss_of_huge_logits_is_finite() -> None:
    logits = np.array([[1e30, 0.0], [0.0, 1e30]], dtype=np.float32)
    assert LogLoss().value(logits, np.array([0, 1])) == 0.0


def test_log_loss_is_computed_in_double_precision() -> None:
    row = np.array([0.1, -0.2, 0.3], dtype=np.float32)
    expected = math.log(sum(math.exp(x) for x in row.tolist())) - float(row[0])
    loss = LogLoss().value(np.tile(row, (100_000, 1)), np.zeros(100_000, dtype=np.int64))
    assert loss == pytest.approx(expected, rel=1e-12)


@of_each_kind
def test_the_order_of_the_images_does_not_matter(metric: MetricConfig) -> None:
    logits, labels = random_logits(0)
    order = np.random.default_rng(1).permutation(len(labels))
    value = metric.value(logits, labels)
    assert isinstance(value, float)
    assert metric.value(logits[order], labels[order]) == pytest.approx(value, rel=1e-9)


@of_each_kind
def test_nothing_is_better_than_to_be_right(metric: MetricConfig) -> None:
    logits, labels = random_logits(0)
    right = 50 * np.eye(logits.shape[1], dtype=np.float32)[labels]
    assert metric.is_better(metric.value(right, labels), metric.value(logits, labels))
    assert not metric.is_better(metric.value(logits, labels), metric.value(right, labels))


@of_each_kind
def test_an_equal_value_is_no_better_one(metric: MetricConfig) -> None:
    assert metric.is_better(0.5, None) and not metric.is_better(0.5, 0.5)


def test_a_name_says_the_settings_that_were_changed() -> None:
    assert [TopK().name, TopK(k=3).name, MacroF1().facts.title] == [
        "top_k",
        "top_k(k=3)",
        "macro f1",
    ]


def test_a_value_that_is_no_finite_number_is_refused() -> None:
    with set_kind_owner("this test"):

        class Broken(MetricConfig):
            kind: Literal["broken"] = "broken"

            def value(self, logits: Any, labels: Any) -> float:
                return float("nan")

    with pytest.raises(RecipeError, match="the metric broken of 3 images is nan"):
        measure_metrics([Broken()], np.eye(3), np.arange(3))


def test_a_recipe_takes_a_name_or_a_kind_with_settings() -> None:
    tree = {
        "evaluation": {"metric": "macro_f1"},
        "schedule": {"kind": "plateau", "monitor": {"kind": "top_k", "k": 2}},
        "training": {"early_stopping": {"patience": 2, "monitor": "top_k"}},
    }
    recipe = build(tree)
    assert [metric.name for metric in recipe.metrics] == ["macro_f1", "top_k", "top_k(k=2)"]
    assert "kind: macro_f1" in to_yaml(recipe)
    with pytest.raises(RecipeError, match=r"evaluation\.metric\.kind can't be 'makro_f1'") as error:
        build({"evaluation": {"metric": "makro_f1"}})
    assert "did you mean 'macro_f1'?" in error.value.hint


WATCHED = {
    "evaluation.metric": "calibration_error",
    "evaluation.checkpoint": "best",
    "training.duration": "7 epochs",
    "optimizer.lr": 0.3,
}


def test_a_run_s_best_epoch_is_by_its_metric_in_its_direction(tmp_path: Path, tiny: Any) -> None:
    folder = RunFolder(tmp_path / "run")
    result = train(tiny(WATCHED), folder)
    lines = [line["val"] for line in folder.metrics.read()]
    errors = [line["calibration_error"] for line in lines]
    accuracies = [line["accuracy"] for line in lines]
    best = errors.index(min(errors))
    assert best not in (accuracies.index(max(accuracies)), errors.index(max(errors)))
    assert result["best"] == {
        "epoch": best + 1,
        "metric": "calibration_error",
        "value": min(errors),
    }
    assert result["evaluated"]["epoch"] == best + 1
    assert result["val"]["metrics"]["calibration_error"] == min(errors)
    assert read_runs([folder.path])[0].best == (best + 1, accuracies[best])


def test_early_stopping_waits_by_its_own_monitor(tmp_path: Path, tiny: Any, end_of: Any) -> None:
    monitor = {"monitor": "calibration_error", "patience": 2}
    recipe = tiny({"training.duration": "30 epochs", "training.early_stopping": monitor})
    folder = RunFolder(tmp_path / "run")
    result = train(recipe, folder)
    lines = [line["val"] for line in folder.metrics.read()]
    errors = [line["calibration_error"] for line in lines]
    waits = [n - errors.index(min(errors[: n + 1])) for n in range(len(errors))]
    assert result["stop_reason"] == "early_stopping" and waits.index(2) + 1 == len(lines)
    accuracies = [line["accuracy"] for line in lines]
    assert [n - accuracies.index(max(accuracies[: n + 1])) for n in range(len(lines))] != waits


def test_a_plateau_watches_its_monitor_in_its_direction(tmp_path: Path, tiny: Any) -> None:
    plateau = {"kind": "plateau", "patience": 0, "factor": 0.5, "threshold": 0.1}
    recipe = tiny({"schedule": {**plateau, "monitor": "macro_f1"}, "training.duration": "8 epochs"})
    folder = RunFolder(tmp_path / "run")
    train(recipe, folder)
    lines = folder.metrics.read()
    lrs, lr, best = [], 0.1, None
    for line in lines:
        lrs.append(lr)
        if best is None or line["val"]["macro_f1"] > 1.1 * best:
            best = line["val"]["macro_f1"]
        else:
            lr /= 2
    assert [line["lr"] for line in lines] == pytest.approx(lrs)
    assert 2 < len(set(lrs)) < 8


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation.metric": {"kind": "top_k", "k": 10}},
        {"training.early_stopping": {"patience": 2, "monitor": {"kind": "top_k", "k": 11}}},
        {"schedule": {"kind": "plateau", "monitor": {"kind": "top_k", "k": 10}}},
    ],
    ids=str,
)
def test_a_metric_that_is_always_1_is_refused(tmp_path: Path, tiny: Any, changes: Any) -> None:
    with pytest.raises(RecipeError, match=r"top_k\(k=1[01]\) is always 1 with 10 classes"):
        train(tiny(changes), RunFolder(tmp_path / "run"))
    TopK(k=9).check(10)


def test_a_result_has_all_shipped_metrics_and_the_recipe_s_own(
    tmp_path: Path, tiny: Callable
) -> None:
    result = train(tiny({"evaluation.metric": {"kind": "top_k", "k": 2}}), RunFolder(tmp_path))
    names = {metric.name for metric in shipped_metrics()} | {"top_k(k=2)"}
    for split in ("val", "test"):
        assert set(result[split]["metrics"]) == names
        assert result[split]["metrics"]["accuracy"] == result[split]["accuracy"]
        assert result[split]["metrics"]["top_k(k=2)"] == result[split]["top_k"][1]
