"""A table by another metric than accuracy: its direction, its unit, where its values come from."""

import json
from pathlib import Path

import pytest
from made_plugin import known
from made_study import make_run

from cifarlab.experiments.study.comparison import Outcome, compare
from cifarlab.experiments.study.definition import Study, StudyRow, parse_metric
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.study.figure import figure
from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.study.table import (
    footing,
    format_rows,
    heading,
    restore_comparison,
)
from cifarlab.metrics.kinds import ACCURACY, LogLoss, MacroF1, MetricConfig, TopK
from cifarlab.plots.draw import draw
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.schemas import as_json
from cifarlab.stats.sequential import Plan
from cifarlab.system.errors import RecipeError, UserError

LESS = LogLoss().facts
BASE, SHIFTED = [0.90, 0.91, 0.89, 0.90], [0.9502, 0.9598, 0.9401, 0.9499]


def table(metric, split="test"):
    outcomes = [
        Outcome(row, seed, f"{row}{seed}", "digits", **{split: value})
        for row, values in (("base", BASE), ("more", SHIFTED))
        for seed, value in enumerate(values)
    ]
    return compare("t", ["base", "more"], "base", outcomes, metric=metric, plan=Plan.once(4))


@pytest.mark.parametrize("metric", known(MetricConfig), ids=lambda m: m.kind)
def test_more_is_better_or_worse_as_the_metric_says(metric):
    verdict = table(metric.facts).rows[1].verdict
    assert verdict == ("better" if metric.higher_is_better else "worse")


def test_all_texts_say_the_metric_and_its_unit():
    comparison = table(LESS, "val")
    assert heading(comparison)[0] == "Validation log loss on digits; less is better."
    assert heading(comparison)[1].startswith("Differences from base, paired")
    headers, cells = format_rows(comparison)
    assert cells[0][2] == "0.9000" and cells[1][5] == "+0.0500"
    assert not [name for name in headers if name.startswith("chance")]  # 0.3 points are accuracy's
    assert footing(comparison)[0].startswith("Validation log loss, since 8 runs")
    left, right = draw(figure(comparison)).axes
    assert left.get_xlabel() == "validation log loss" and "points" not in right.get_xlabel()
    assert left.get_xlim()[1] < 1.1  # in its own unit
    f1 = table(MacroF1().facts)
    assert heading(f1)[0] == "Test macro f1 in per cent on digits."
    assert draw(figure(f1)).axes[0].get_xlabel() == "test macro f1 (%)"


def test_a_comparison_by_a_metric_is_read_back():
    comparison = table(LESS)
    assert restore_comparison(json.loads(json.dumps(as_json(comparison)))) == comparison
    assert table(ACCURACY).metric.percent


def test_runs_are_compared_by_any_metric_of_their_results(tmp_path):
    for seed in range(3):
        make_run(tmp_path / f"a{seed}", 0.9 + 0.001 * seed, seed=seed)
        better = 0.95 + 0.0011 * seed
        make_run(tmp_path / f"b{seed}", better, seed=seed, changes={"optimizer.lr": 0.3})
    comparison = compare_runs([str(tmp_path)], runs=tmp_path, metric=LogLoss())
    assert [row.verdict for row in comparison.rows] == ["the baseline", "better"]
    assert comparison.rows[0].values == pytest.approx({0: 1.1, 1: 1.099, 2: 1.098})
    with pytest.raises(UserError, match="no run finished"):  # a result that lacks it
        compare_runs([str(tmp_path)], runs=tmp_path, metric=MacroF1())


def test_what_a_result_lacks_is_computed_of_the_predictions(finished: RunFolder, copied: RunFolder):
    comparison = compare_runs([str(finished.path)], metric=TopK(k=2))
    assert comparison.metric.name == "top_k(k=2)" and comparison.split == "test"
    assert comparison.rows[0].values == {0: (finished.result() or {})["test"]["top_k"][1]}
    (made_metric,) = [metric for metric in known(MetricConfig) if metric.kind == "made-rarest"]
    assert 0 <= compare_runs([str(finished.path)], metric=made_metric).rows[0].values[0] <= 1
    for file in copied.predictions.iterdir():
        file.unlink()
    with pytest.raises(UserError, match="no run finished"):
        compare_runs([str(copied.path)], metric=TopK(k=2))


@pytest.mark.parametrize("k", [10, 12])
def test_a_metric_that_is_always_1_is_refused(finished: RunFolder, k: int):
    with pytest.raises(RecipeError, match="is always 1 with 10 classes") as caught:
        compare_runs([str(finished.path)], metric=TopK(k=k))
    assert "take k below 10" in caught.value.hint
    assert compare_runs([str(finished.path)], metric=TopK(k=9)).rows[0].values


def test_a_command_line_names_a_metric_or_gives_its_settings():
    assert parse_metric("macro_f1") == MacroF1()
    assert parse_metric("{kind: top_k, k: 3}") == TopK(k=3)
    with pytest.raises(RecipeError, match="can't be 'makro_f1'"):
        parse_metric("makro_f1")


def test_a_study_is_judged_by_its_metric(tmp_path: Path):
    fast = {
        "training.duration": "3 epochs",
        "training.precision": "float32",
        "training.batch_size": 256,
        "model.stem_width": 4,
        "model.channels": [4, 8, 8],
    }
    rows = tuple(
        StudyRow(name=name, recipe="quickstart", overrides={"optimizer.lr": lr})
        for name, lr in (("slow", 1e-4), ("fast", 0.1))
    )
    settings = {"metric": "log_loss", "columns": ("best_epoch",), "overrides": fast}
    study = Study(name="by-loss", n_seeds=2, rows=rows, **settings)
    lines: list[str] = []
    finished = run_study(study, runs=tmp_path, log=lines.append)
    slow, fast_row = finished.comparison.rows
    assert finished.comparison.metric == LESS and fast_row.summary.mean < slow.summary.mean
    result = RunFolder(next(finished.folder.path.glob("fast*"))).result()
    assert result["test"]["loss"] in fast_row.values.values()
    assert any(f"test {result['test']['loss']:.4f}, validation" in line for line in lines)
    logs = [RunFolder(f).metrics.read() for f in finished.folder.path.glob("slow*")]
    best = [min(log, key=lambda line: line["val"]["loss"])["epoch"] for log in logs]
    assert [value.mean for value in slow.columns] == [sum(best) / len(best)]
    with pytest.raises(RecipeError, match="is always 1 with 10 classes"):
        run_study(study.model_copy(update={"name": "top", "metric": TopK(k=10)}), runs=tmp_path)
