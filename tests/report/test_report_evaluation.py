"""What evaluate --full and audit leave behind, as the report shows it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_full_run import KINDS, NAME, bins, examined, make_full_run
from made_run import Plan, digits, make
from page_parser import Page, parse, read

from cifarlab.plots import images
from cifarlab.plots import run as figures
from cifarlab.report.html import render
from cifarlab.report.write import write_report
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import RunData, read_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunData:
    return read_runs([make_full_run(tmp_path_factory.mktemp("runs") / "whole", Plan(skill=2.0))])[0]


def test_the_page_shows_everything(run: RunData, tmp_path: Path) -> None:
    page = read(write_report([run.path], tmp_path / "page.html"))
    assert not page.unclosed
    assert page.tables["groups"][1][:4] == ["animals", "bird, cat", "400", "80.00 %"]
    assert [row[0] for row in page.tables["calibration"][1:]] == ["as trained", "calibrated"]
    assert page.tables["tta"][2][3] == "+1.25"
    assert page.tables["tta"][2][5] == "0.0031"
    assert page.tables["tta"][2][4] == "+0.40 to +2.10"
    assert page.tables["families"][-1] == ["all, mean", "61.30 %"]
    assert page.tables["ood"][1] == ["energy", "0.9512"]
    assert page.tables["depths"][1] == ["10", "80.00 %", "40.00 %"]
    assert page.tables["twins"][1] == ["train", "test", "3"]
    for text in (
        "most confident mistakes",
        "Top 5 99.00 %",
        "Standard deviation between classes 6.0 points",
        "Precision at that number 73.21 %",
        "cat → dog",
        f"98.7 % dog {NAME} truly dog",
        "similarity 0.9912 train: train/3.png test: test/9.png",
        "equal train: train/3.png train: train/11.png",
        "The networks are <weak>.",
        "Pairs were <cut>.",
        "test split of CIFAR-10 against digits",
    ):
        assert text in page.text, text
    made = {path.name for path in (tmp_path / "figures").iterdir()}
    for kind in ("confident", "reliability", "shift", "suspects", "duplicates"):
        assert f"whole-{kind}.svg" in made


def test_confident_mistakes_are_the_surest(run: RunData) -> None:
    written = [item.details[0].partition(",")[0] for item in images.confident_mistakes(run)]
    predictions = run.predictions
    powers = np.exp(predictions.logits[predictions.mistakes].astype(float))
    sure = (powers / powers.sum(1, keepdims=True)).max(1)
    assert written == [f"{100 * value:.1f}\u00a0%" for value in np.sort(sure)[::-1][:25]]


def test_a_run_without_any_of_it_says_nothing_of_it(tmp_path: Path) -> None:
    page = read(write_report([make(tmp_path / "plain")], tmp_path / "page.html"))
    for text in ("Under shift", "believed", "there twice", "probably wrong", "Classes and groups"):
        assert text not in page.text
    assert not list((tmp_path / "figures").glob("*shift*"))


def test_grey_images_and_validation(tmp_path: Path) -> None:
    path = make_full_run(tmp_path / "grey", digits(), split="val")
    page = read(write_report([path], tmp_path / "page.html"))
    assert "validation split of CIFAR-10, one view" in page.text


def test_test_is_shown_before_validation(tmp_path: Path) -> None:
    folder = RunFolder(make(tmp_path / "run"))
    folder.write_evaluation("val", examined("val"))
    assert read_runs([folder.path])[0].full_evaluation["split"] == "val"
    folder.write_evaluation("test", examined("test"))
    assert read_runs([folder.path])[0].full_evaluation["split"] == "test"


def test_the_reliability_diagram_shows_the_filled_bins(run: RunData) -> None:
    above, below = figures.reliability(run).panels
    _, before, few, after, _ = above.marks
    rows = [row for row in bins(0.08) if row["n"]]
    assert np.allclose(before.x, [100 * row["confidence"] for row in rows]) and not len(few.x)
    assert np.allclose(before.y, [100 * row["accuracy"] for row in rows])
    assert np.allclose(after.y, [100 * r["accuracy"] for r in bins(0.05) if r["n"]])
    (sizes,) = below.marks
    assert sum(sizes.lengths) == pytest.approx(100) and len(sizes.lengths) == 14


def test_the_heat_map_is_true_to_the_numbers(run: RunData) -> None:
    (panel,) = figures.shift(run).panels
    values = np.array([row["accuracy"] for row in examined()["shift"]["corruptions"]])
    mark = panel.marks[0]
    assert np.allclose(mark.values, 100 * np.column_stack([values, values.mean(1)]))
    assert mark.texts[0, 0] == f"{100 * values[0, 0]:.1f}"
    assert panel.y.names == [name.replace("_", " ") for name in KINDS]
    assert "clean 86.00\u00a0%, corrupted 61.30\u00a0%" in panel.title


def render_part(run: RunData, part: str = "evaluation") -> Page:
    """A part of the page, as the dashboard shows it, too."""
    return parse(render(f"{part}.html", run=run, pictures={}, top=2))


def test_groups_of_a_mapping_come_before_the_usual(run: RunData) -> None:
    groups = [{"group": "mine", "classes": ["cat"], "n": 3}]
    with_groups = {**run.full_evaluation, "measured": {"groups": groups}}
    assert render_part(replace(run, full_evaluation=with_groups)).tables["groups"][1][0] == "mine"
    other = {**with_groups, "split": "val"}
    assert render_part(replace(run, full_evaluation=other)).tables["groups"][1][0] == "animals"


INVALID = [None, 3, "x", [], {}, [None, 3], {"a": [1]}, True]


@pytest.mark.parametrize("value", INVALID, ids=json.dumps)
def test_invalid_values_cost_nothing(run: RunData, value: object) -> None:
    for key in ("tta", "shift", "ood", "measured", "data", "split"):
        damaged_run = replace(run, full_evaluation={**run.full_evaluation, key: value})
        assert render_part(damaged_run).tables.keys() >= {"groups", "calibration"}
        figures.shift(damaged_run)
    for key, other in (("labels", "twins"), ("duplicates", "depths"), ("classes", "twins")):
        assert other in render_part(replace(run, audit={**run.audit, key: value}), "audit").tables
    for part in ("labels", "duplicates"):
        for key in run.audit[part]:
            changed = {**run.audit, part: {**run.audit[part], key: value}}
            assert "there twice" in render_part(replace(run, audit=changed), "audit").text
    split = {**run.result["test"], "calibration": value, "top_k": value, "groups": value}
    damaged_run = replace(run, result={**run.result, "test": split}, full_evaluation={})
    assert "Standard deviation between classes" in render_part(damaged_run).text
    assert figures.filled_bins(value) == []
