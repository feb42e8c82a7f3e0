"""How often each class is predicted, and what a report says of it, beside ours."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_run import Plan, hundred, make

from cifarlab.recipes.catalog import shipped_recipes
from cifarlab.report.tables import prediction_counts, reported_confusion
from cifarlab.run_folder.run_data import RunData, read_runs


def read(path: Path, plan: Plan | None = None, recipe: str = "made/up") -> RunData:
    """A run made up, under the name of a recipe."""
    make(path, plan)
    result = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps(result | {"recipe": recipe}))
    return read_runs([path])[0]


def test_counts_are_the_sums_of_the_confusion_matrix(tmp_path):
    run = read(tmp_path / "run")
    matrix = np.array(run.split("test")["confusion_matrix"])
    table = prediction_counts(run)
    names = run.provenance["data"]["classes"]
    assert len(table.rows) == 10
    for name, true, predicted, ratio in table.rows:
        k = names.index(name)
        assert (int(true), int(predicted)) == (matrix[k].sum(), matrix[:, k].sum())
        assert float(ratio) == pytest.approx(matrix[:, k].sum() / matrix[k].sum(), abs=0.0051)
    excess = [int(predicted) - int(true) for _, true, predicted, _ in table.rows]
    assert excess == sorted(excess, reverse=True)


def test_of_many_classes_the_extremes_are_shown(tmp_path):
    assert len(prediction_counts(read(tmp_path / "run", hundred())).rows) == 20


def test_a_report_s_classes_stand_beside_ours(tmp_path):
    run = read(tmp_path / "run", Plan(data="CIFAR-10"), "asha2021/resnet34-schedule")
    table = prediction_counts(run)
    accuracies = {row["class"]: row["accuracy"] for row in run.split("test")["per_class"]}
    reported = shipped_recipes()["asha2021/resnet34-schedule"].reported
    assert list(table.columns)[-2:] == ["accuracy", "reported"]
    for name, *_, ours, theirs in table.rows:
        assert float(ours.split("\u00a0")[0]) == pytest.approx(100 * accuracies[name], abs=0.05)
        assert theirs == f"{reported.classes[name]:.1f} %"


def test_fudan_s_confusion_matrix_is_shown_for_its_recipe_on_its_images_alone(tmp_path):
    table = reported_confusion(read(tmp_path / "run", Plan(data="CIFAR-10"), "fudan/mixup"))
    assert table is not None
    assert table.rows[3] == ("cat", 12, 2, 5, 865, 10, 73, 13, 7, 5, 8)
    assert reported_confusion(read(tmp_path / "photos", Plan(data="photos"), "fudan/mixup")) is None
    assert reported_confusion(read(tmp_path / "other", Plan(data="CIFAR-10"))) is None
