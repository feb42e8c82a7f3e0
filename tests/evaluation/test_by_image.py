"""Two recipes image by image: values of images, the jackknife, and refusals."""

from dataclasses import replace

import numpy as np
import pytest
from made_run import Plan as MadeRun
from made_run import make

from cifarlab.evaluation.by_image import GROUPS, _metric_values, compare_images
from cifarlab.metrics.kinds import Accuracy, CalibrationError, LogLoss, MacroF1, MetricConfig, TopK
from cifarlab.plots.flips import intervals
from cifarlab.report.by_image import class_table, interval_table, sentences
from cifarlab.run_folder.predictions import Predictions
from cifarlab.run_folder.run_data import RunData, read_runs
from cifarlab.stats.crossed import crossed_intervals
from cifarlab.stats.sequential import Plan
from cifarlab.system.errors import RunFolderError, UserError


def logits_and_labels(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 5, n)
    return (draw.normal(0, 1, (n, 5)) + 1.5 * np.eye(5)[labels]).astype(np.float32), labels


@pytest.mark.parametrize("metric", [Accuracy(), LogLoss(), TopK(k=2)], ids=lambda m: m.kind)
def test_a_mean_over_images_has_a_value_for_each(metric: MetricConfig) -> None:
    logits, labels = logits_and_labels(200)
    values, n_groups = _metric_values(metric, logits, labels)
    assert n_groups is None and len(values) == 200
    by_hand = [metric.value(logits[i : i + 1], labels[i : i + 1]) for i in range(200)]
    assert values == pytest.approx(by_hand, rel=1e-6)
    assert values.mean() == pytest.approx(metric.value(logits, labels))


class HalfAccuracy(Accuracy):
    """A kind that changes the value, and leaves the values of images as they are."""

    kind: str = "half-accuracy"

    def value(self, logits: np.ndarray, labels: np.ndarray) -> float:
        return super().value(logits, labels) / 2


@pytest.mark.parametrize("metric", [MacroF1(), CalibrationError(), HalfAccuracy()])
def test_any_other_metric_has_pseudo_values_with_its_mean(metric: MetricConfig) -> None:
    logits, labels = logits_and_labels(500)
    values, n_groups = _metric_values(metric, logits, labels)
    assert n_groups == len(values) == GROUPS
    assert values.mean() == pytest.approx(metric.value(logits, labels))


def test_the_jackknife_of_a_mean_is_the_error_of_the_mean() -> None:
    logits, labels = logits_and_labels(5000)
    values, _ = _metric_values(HalfAccuracy(), logits, labels)
    right = (logits.argmax(1) == labels) / 2
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert error == pytest.approx(right.std(ddof=1) / np.sqrt(len(right)), rel=0.25)


def test_the_jackknife_s_interval_of_macro_f1_covers_its_truth() -> None:
    """Of 200 test sets, drawn anew each time, about 95 % hold the value of a very large one."""
    truth = MacroF1().value(*logits_and_labels(200_000, seed=99))
    n_inside = 0
    for seed in range(200):
        values, _ = _metric_values(MacroF1(), *logits_and_labels(500, seed))
        low, high = crossed_intervals(values[None, :]).images
        n_inside += low <= truth <= high
    assert 0.90 <= n_inside / 200 <= 0.99  # within three of its errors of 95 %


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list:
    root = tmp_path_factory.mktemp("runs")
    slow = (("optimizer.lr", 0.01),)
    plans = [MadeRun(seed=s, n=400, skill=4.5) for s in range(3)]
    plans += [MadeRun(seed=s, n=400, skill=3.0, changes=slow) for s in range(3)]
    return read_runs([make(root / str(n), plan) for n, plan in enumerate(plans)], predictions=False)


def test_a_comparison_of_three_pairs(runs: list) -> None:
    pairs = list(zip(runs[3:], runs[:3], strict=True))
    images = compare_images("slow", "fast", pairs, "test", Accuracy(), Plan.once(3), 10)
    by_seed = [b.split("test")["accuracy"] - a.split("test")["accuracy"] for b, a in pairs]
    assert images.intervals.mean == pytest.approx(np.mean(by_seed))
    assert images.flips.n_gained - images.flips.n_lost == pytest.approx(400 * np.mean(by_seed))
    assert images.p_listed == pytest.approx(min(1, 10 * images.p))
    assert images.p <= images.p_listed <= images.p_built
    assert images.intervals.seeds_and_images[1] < 0


def test_pairs_after_the_last_look_are_left_out(runs: list) -> None:
    pairs = list(zip(runs[3:], runs[:3], strict=True))
    early, late = (
        compare_images("slow", "fast", each, "test", Accuracy(), Plan.once(3))
        for each in (pairs, [*pairs, pairs[0]])
    )
    assert late == early._replace(n_left_out=1)
    assert "1 pairs came after the last look, and are left out." in sentences(late)


def test_before_the_first_look_there_is_no_interval_and_no_p(runs: list) -> None:
    pairs = list(zip(runs[3:5], runs[:2], strict=True))
    images = compare_images("slow", "fast", pairs, "test", Accuracy(), Plan.open(), 10)
    assert {*images.intervals[3:6], images.p, images.p_listed, images.p_built} == {None}
    assert "no interval, no p" in sentences(images)[1] and len(sentences(images)) == 2
    headers, rows = class_table(images)  # counts alone
    assert headers[-1] == "difference (points)" and {len(row) for row in rows} == {5}
    assert interval_table([images])[1] == []
    marks = intervals([images]).panels[0].marks[1]  # the difference is drawn all the same
    assert marks.x == pytest.approx([100 * images.intervals.mean] * 3)


def test_one_image_is_refused(runs: list) -> None:
    run = read_runs([runs[0].path])[0]
    first = {name: getattr(run.predictions, name)[:1] for name in ("logits", "labels", "indices")}
    run = replace(run, predictions=replace(run.predictions, **first))
    with pytest.raises(UserError, match="was measured on one test image: nothing varies"):
        compare_images("a", "b", [(run, run)], "test", Accuracy(), Plan.open())


def _macro_f1(run: RunData) -> float:
    predictions = Predictions.read(run.path / "predictions" / "val.safetensors")
    return MacroF1().value(predictions.logits, predictions.labels)


def test_macro_f1_is_compared_by_groups(runs: list) -> None:
    pairs = list(zip(runs[3:], runs[:3], strict=True))
    images = compare_images("slow", "fast", pairs, "val", MacroF1(), Plan.once(3))
    values = [[_macro_f1(run) for run in pair] for pair in pairs]
    assert images.intervals.mean == pytest.approx(np.mean([ours - base for ours, base in values]))
    assert images.n_groups == GROUPS and images.split == "val"


def test_other_images_are_refused_by_name(runs: list, tmp_path) -> None:
    other = read_runs([make(tmp_path / "other", MadeRun(n=400, images="00ff"))])[0]
    changed = replace(other.predictions, labels=(other.predictions.labels + 1) % 10)
    with pytest.raises(UserError, match="other was not measured on the same test images"):
        pair = (runs[0], replace(other, predictions=changed))
        compare_images("a", "b", [pair], "test", Accuracy(), Plan.open())


def test_lost_predictions_are_named(runs: list, tmp_path) -> None:
    path = make(tmp_path / "run", MadeRun(n=400))
    (path / "predictions" / "test.safetensors").unlink()
    lost = read_runs([path], predictions=False)[0]
    with pytest.raises(RunFolderError, match="can't read predictions"):
        compare_images("a", "b", [(lost, runs[0])], "test", Accuracy(), Plan.open())
