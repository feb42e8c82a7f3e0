"""Sets of classes from a run: calibrated on its validation images, measured on test, printed."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cifarlab.api.runs import load_run
from cifarlab.cli import app
from cifarlab.evaluation.run_evaluation import evaluate_fully, evaluate_run
from cifarlab.inference.formats import format_predictions
from cifarlab.inference.run_predictor import ClassProbabilities, calibrate_sets, predict_images
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.metrics.conformal import Conformal, calibrate
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.errors import DataError, RunFolderError, UserError
from cifarlab.training.train import train

CLASSES = ("cat", "dog", "frog")
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.04, 0.01, 0.95], [0.3, 0.4, 0.3]])
SETS = ClassProbabilities(["a", "b", "c"], CLASSES, PROBABILITIES, 1.5, Conformal(0.9, 0.8, 99))
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)


def test_a_set_has_its_classes_by_their_probability() -> None:
    assert SETS.sets() == [["cat", "dog"], ["frog"], ["dog", "cat", "frog"]]
    assert SETS._replace(conformal=None).sets() is None


def test_the_table_shows_sets_and_refusals() -> None:
    lines = format_predictions(SETS, "table").splitlines()
    assert lines[0].split("  ")[:2] == ["a", "{cat, dog}"]
    lines = format_predictions(SETS, "table", reject=True).splitlines()
    assert [line.split()[1] for line in lines] == ["-", "frog", "-"]


def test_csv_has_a_column_of_sets_and_no_class_where_it_is_rejected() -> None:
    rows = list(csv.DictReader(io.StringIO(format_predictions(SETS, "csv"))))
    assert [row["set"] for row in rows] == ["cat|dog", "frog", "dog|cat|frog"]
    assert [row["class"] for row in rows] == ["cat", "frog", "dog"]
    rows = list(csv.DictReader(io.StringIO(format_predictions(SETS, "csv", reject=True))))
    assert [row["class"] for row in rows] == ["", "frog", ""]
    assert float(rows[0]["confidence"]) == 0.7
    plain = format_predictions(SETS._replace(conformal=None), "csv")
    assert plain.splitlines()[0] == "id,class,confidence,cat,dog,frog"


def test_json_says_what_the_sets_are() -> None:
    answer = json.loads(format_predictions(SETS, "json", reject=True))
    assert answer["sets"] == {"coverage": 0.9, "threshold": 0.8, "n_calibration": 99}
    assert [image["class"] for image in answer["images"]] == [None, "frog", None]
    assert answer["images"][2]["set"] == ["dog", "cat", "frog"]
    plain = json.loads(format_predictions(SETS._replace(conformal=None), "json"))
    assert "sets" not in plain
    assert "set" not in plain["images"][0]


def test_a_submission_has_no_sets_and_reject_needs_them() -> None:
    with pytest.raises(UserError, match="takes one class for each image"):
        format_predictions(SETS, "kaggle")
    with pytest.raises(UserError, match="there are no sets"):
        format_predictions(SETS._replace(conformal=None), "csv", reject=True)


def test_a_runs_sets_are_calibrated_on_its_validation_images(finished: RunFolder) -> None:
    stored = Predictions.read(finished.predictions / "val.safetensors")
    expected = calibrate(scaled_softmax(stored.logits, finished.temperature()), stored.labels, 0.95)
    assert calibrate_sets(finished, 0.95) == expected
    answer = predict_images(finished, IMAGES, coverage=0.95)
    assert answer.conformal == expected
    frame = load_run(finished.path).predict_sets(IMAGES, 0.95)
    assert (frame.to_numpy() == expected.sets(answer.probabilities)).all()
    assert frame.sum(axis=1).min() >= 1


def test_a_run_without_validation_images_says_why_and_what_to_do(tiny, tmp_path: Path) -> None:
    changes = {"data.val_fraction": 0.0, "training.duration": "1 steps", "evaluation.test": False}
    train(tiny(changes), RunFolder(tmp_path / "run"), callbacks=())
    with pytest.raises(DataError, match="held nothing out") as error:
        predict_images(RunFolder(tmp_path / "run"), IMAGES, coverage=0.9)
    assert "data.val_fraction" in error.value.hint


def test_other_runs_without_a_calibration(copied: RunFolder) -> None:
    (copied.predictions / "val.safetensors").unlink()
    with pytest.raises(RunFolderError, match="can't read predictions"):
        calibrate_sets(copied, 0.9)
    copied.result_file.unlink()
    with pytest.raises(DataError, match="has not finished"):
        calibrate_sets(copied, 0.9)


def test_sets_are_measured_on_the_test_images(copied: RunFolder) -> None:
    result, _ = evaluate_run(copied, "test", coverage=0.95)
    stored = Predictions.read(copied.predictions / "test.safetensors")
    conformal = calibrate_sets(copied, 0.95)
    members = conformal.sets(scaled_softmax(stored.logits, copied.temperature()))
    covered = members[np.arange(len(stored.labels)), stored.labels]
    sets = result["sets"]
    assert (sets["target"], sets["threshold"], sets["n_calibration"]) == tuple(conformal)
    assert sets["coverage"] == covered.mean()
    assert sets["interval"][0] < covered.mean() < sets["interval"][1]
    assert sets["mean_size"] == members.sum(1).mean()
    assert sets["sizes"] == [int((members.sum(1) == size).sum()) for size in range(1, 11)]
    single = sets["single_class"]
    is_single, row = members.sum(1) == 1, sets["per_class"][3]
    assert (single["n"], single["correct"]) == (is_single.sum(), covered[is_single].sum())
    of_class = stored.labels == 3
    assert (row["class"], row["n"]) == ("3", of_class.sum())
    assert row["coverage"] == covered[of_class].mean()
    assert row["mean_size"] == members[of_class].sum(1).mean()
    assert "sets" not in evaluate_run(copied, "test")[0]
    assert len(copied.provenance()["test_openings"]) == 3  # at the run's end, and each of these


def test_a_full_evaluation_keeps_the_sets(copied: RunFolder) -> None:
    evaluate_fully(copied, "test", n_images=2, coverage=0.9)
    assert copied.evaluation("test")["measured"]["sets"]["target"] == 0.9


def test_sets_are_not_measured_on_what_calibrates_them(finished: RunFolder) -> None:
    for arguments in ({"split": "val"}, {"split": "test", "tta_views": 2}):
        with pytest.raises(UserError, match="calibrated on the validation images"):
            evaluate_run(finished, coverage=0.9, **arguments)


def test_the_commands_take_a_coverage(copied: RunFolder, tmp_path: Path) -> None:
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    words = ["predict", str(copied.path), str(tmp_path / "a.png"), "--coverage", "0.999999"]
    outcome = CliRunner().invoke(app, words)
    assert isinstance(outcome.exception, DataError)
    words[-1] = "0.95"
    outcome = CliRunner().invoke(app, [*words[:-1], "0.01"])
    assert "note: the likeliest class is right on 1 %" in outcome.stderr
    outcome = CliRunner().invoke(app, [*words, "--reject", "--format", "json"])
    assert "note: the likeliest" not in outcome.stderr
    image = json.loads(outcome.stdout)["images"][0]
    assert (image["class"] is None) == (len(image["set"]) > 1)
    words = ["evaluate", str(copied.path), "--split", "test", "--coverage", "0.95"]
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 0
    assert "sets for 95 %, calibrated on" in outcome.output
    assert "--reject names a class for" in outcome.output
