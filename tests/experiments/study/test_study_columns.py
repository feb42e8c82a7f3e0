"""A study's columns and curves, against values written out by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from made_study import make_run
from pydantic import ValidationError

from cifarlab.experiments.study.columns import (
    Value,
    format_value,
    measure_columns,
    summarize_columns,
)
from cifarlab.experiments.study.comparison import compare
from cifarlab.experiments.study.definition import Reported, Study
from cifarlab.experiments.study.figure import FIGURES
from cifarlab.experiments.study.outcomes import run_outcome
from cifarlab.experiments.study.table import column_table, csv_text, markdown
from cifarlab.metrics.kinds import ACCURACY, Accuracy, LogLoss, MacroF1
from cifarlab.plots.draw import draw
from cifarlab.plots.spec import Band, Marks
from cifarlab.run_folder.run_data import read_runs
from cifarlab.system.formatting import NOTHING

VAL = [0.5, 0.7, 0.85, 0.8, 0.9]
TRAIN = [0.6, 0.8, 0.9, 0.95, 0.99]
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

draw_curves = FIGURES["curves"][0]


def line(epoch, train, val, loss=None):
    """A line of the metrics log."""
    cost = {"train_seconds": 1.0, "evaluate_seconds": 0.5, "images_per_second": 100.0}
    measured = None if val is None else {"accuracy": val, "loss": loss or 1 - val}
    train_values = {"accuracy": train, "loss": 1 - train}
    return {
        "epoch": epoch,
        "step": 10 * epoch,
        "lr": 0.1,
        "train": train_values,
        "val": measured,
        "cost": cost,
    }


@pytest.fixture
def make(tmp_path):
    """A function: a run with those validation accuracies, measured after ``epoch``."""

    def run(seed=0, val=VAL, train=TRAIN, epoch=5, loss=(None,) * 5, **changes):
        path = make_run(tmp_path / f"run{seed}", 0.88, seed=seed, **changes)
        lines = [line(n, *values) for n, values in enumerate(zip(train, val, loss, strict=True), 1)]
        text = "".join(json.dumps(entry) + "\n" for entry in lines)
        (path / "metrics.jsonl").write_text(text)
        result = json.loads((path / "result.json").read_text())
        result["evaluated"] = {"epoch": epoch}
        result["cost"] = {"train_seconds": 7200}
        result["test"]["per_class"] = [
            {"class": name, "accuracy": 0.5 + 0.04 * n} for n, name in enumerate(CIFAR10)
        ]
        (path / "result.json").write_text(json.dumps(result))
        return read_runs([path], predictions=False)[0]

    return run


def test_each_column_by_hand(make):
    columns = [
        "train_accuracy",
        "gap",
        "epochs_to_level",
        "best_epoch",
        "final_std",
        "train_seconds",
    ]
    measured = measure_columns(columns, 0.8, "test", ACCURACY, make())
    assert measured == {
        "training accuracy": 0.99,
        "gap": pytest.approx(0.99 - 0.88),
        "epochs to 80 %": 3,
        "best epoch": 5,
        "std of the last 10 epochs": pytest.approx(np.std(VAL, ddof=1)),
        "seconds": 7200.0,
    }


def test_the_best_epoch_is_by_the_study_s_metric(make):
    run = make(val=[0.5, 0.9, 0.85, 0.8, 0.7], loss=[0.9, 0.6, 0.3, 0.4, 0.5])

    def best(metric):
        return measure_columns(["best_epoch"], 0.8, "test", metric.facts, run)["best epoch"]

    assert (best(Accuracy()), best(LogLoss()), best(MacroF1())) == (2, 3, None)


def test_the_epoch_that_was_measured_gives_the_training_accuracy(make):
    assert measure_columns(["train_accuracy"], 0.8, "test", ACCURACY, make(epoch=3)) == {
        "training accuracy": 0.9
    }


def test_classes_and_groups(make):
    measured = measure_columns(["classes", "groups"], 0.8, "test", ACCURACY, make())
    assert [measured[name] for name in CIFAR10] == [0.5 + 0.04 * n for n in range(10)]
    vehicles = [measured[name] for name in ("airplane", "automobile", "ship", "truck")]
    assert measured["group vehicles"] == pytest.approx(sum(vehicles) / 4)


def test_without_validation_images_what_needs_them_is_empty(make):
    run = make(val=[None] * 5)
    measured = measure_columns(
        ["epochs_to_level", "final_std", "best_epoch"], 0.8, "test", ACCURACY, run
    )
    assert set(measured.values()) == {None}
    assert format_value(Value("best epoch", None)) == NOTHING


def test_a_level_that_is_never_reached_is_left_out_of_the_mean(make):
    runs = [make(0), make(1, val=[0.1] * 5)]
    each = [measure_columns(["epochs_to_level"], 0.8, "test", ACCURACY, run) for run in runs]
    (value,) = summarize_columns(each, None)
    assert value == Value("epochs to 80 %", 3.0, None, n=2, n_missing=1)
    assert format_value(value) == "3.0 (1 of 2)"
    (value,) = summarize_columns(each[1:], None)
    assert (value.mean, format_value(value)) == (None, f"{NOTHING} (0 of 1)")


@pytest.mark.parametrize("seconds, text", [(286.4, "286"), (1.34, "1.3")])
def test_seconds_are_readable(seconds, text):
    assert format_value(Value("seconds", seconds)) == text


def test_a_reports_classes_stand_in_brackets(make):
    reported = Reported(accuracy=92.37, classes=dict.fromkeys(CIFAR10, 90.0) | {"bird": 88.1})
    each = [measure_columns(["classes", "groups"], 0.8, "test", ACCURACY, make())]
    values = {value.heading: value for value in summarize_columns(each, reported)}
    assert format_value(values["bird"]) == "58.00 (88.1)"
    assert format_value(values["group animals"]).endswith(f"({(5 * 90 + 88.1) / 6:.1f})")


@pytest.fixture
def comparison(make):
    runs = {"a": [make(0), make(1, val=[v - 0.1 for v in VAL])], "b": [make(2, val=[None] * 5)]}
    outcomes = [
        run_outcome(row, run, Accuracy()) for row, row_runs in runs.items() for run in row_runs
    ]
    compared = compare("made", ["a", "b", "c"], "a", outcomes)
    return compared.with_runs(
        runs, lambda run: measure_columns(["gap", "best_epoch"], 0.8, "test", ACCURACY, run)
    )


def test_the_table_has_the_columns_beneath_and_a_row_without_runs_is_empty(comparison):
    headers, cells = column_table(comparison)
    assert headers == ("row", "gap", "best epoch")
    assert cells == [("a", "11.00", "5.0"), ("b", "11.00", NOTHING), ("c", NOTHING, NOTHING)]
    assert "| a | 11.00 | 5.0 |" in markdown(comparison)
    lines = csv_text(comparison).splitlines()
    at = lines[0].split(",").index("best epoch")
    assert [row.split(",")[at] for row in lines[1:]] == ["5.0", "", ""]


def test_curves_are_means_with_bands_over_the_seeds(comparison):
    plot = draw_curves(comparison)
    accuracy = plot.panels[0].marks
    (band,) = [mark for mark in accuracy if isinstance(mark, Band)]
    np.testing.assert_allclose(band.high, 100 * np.array(VAL))
    np.testing.assert_allclose(band.low, 100 * np.array(VAL) - 10)
    solid = next(mark for mark in accuracy if isinstance(mark, Marks) and mark.dash == "-")
    np.testing.assert_allclose(solid.y, 100 * np.array(VAL) - 5)
    of_b = [mark for mark in accuracy if isinstance(mark, Marks) and mark.label == "b (1)"]
    assert [mark.dash for mark in of_b] == ["--"]
    assert not any(math.isnan(y) for mark in of_b for y in mark.y)


def test_without_validation_images_the_band_is_that_of_training(make):
    runs = [make(0, val=[None] * 5), make(1, val=[None] * 5, train=[v - 0.2 for v in TRAIN])]
    outcomes = [run_outcome("a", run, Accuracy()) for run in runs]
    compared = compare("made", ["a"], "a", outcomes).with_runs({"a": runs}, lambda run: {})
    (band, line) = draw_curves(compared).panels[0].marks
    np.testing.assert_allclose(band.high, 100 * np.array(TRAIN))
    np.testing.assert_allclose(band.low, 100 * np.array(TRAIN) - 20)
    assert (band.color, line.dash) == (line.color, "--")


def test_curves_in_one_panel_have_different_colors(make):
    names = ["b", "base", *(f"row{n}" for n in range(12))]
    runs = {name: [make(n)] for n, name in enumerate(names)}
    outcomes = [run_outcome(name, run, Accuracy()) for name, (run,) in runs.items()]
    plot = draw_curves(compare("made", names, "base", outcomes).with_runs(runs, lambda run: {}))
    assert len(plot.panels) == 6  # accuracy and loss of 14 rows: the baseline and 6, 6 and 1 others
    drawn = []
    for panel in plot.panels[::2]:
        lines = [mark for mark in panel.marks if isinstance(mark, Marks) and mark.dash == "-"]
        assert lines[0].label == "base (1)"
        assert len({line.color for line in lines}) == len(lines)
        drawn += [line.label for line in lines[1:]]
    assert drawn == [f"{name} (1)" for name in names if name != "base"]
    legends = [axes.get_legend() for axes in draw(plot).axes]
    texts = [[t.get_text() for t in legend.get_texts()] for legend in legends if legend]
    assert [len(of_row) for of_row in texts] == [7, 7, 2]


def test_there_are_no_curves_without_two_epochs(comparison, make):
    assert draw_curves(comparison._replace(runs=())) is None
    short = [replace(run, lines=run.lines[:1]) for of_row in comparison.runs for run in of_row]
    assert draw_curves(comparison._replace(runs=(tuple(short), (), ()))) is None


def test_a_level_that_no_column_uses_is_refused():
    with pytest.raises(ValidationError, match="epochs_to_level"):
        Study(name="x", level=0.5, rows=[{"name": "a", "recipe": "quickstart"}])
