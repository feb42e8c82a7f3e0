"""evaluate --full, audit and predict as a person types them."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from command_line import Command
from PIL import Image

from cifarlab.run_folder.folder import RunFolder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save(tmp_path / "7.png")
    return tmp_path / "7.png"


def test_everything_is_printed_kept_and_in_the_report(
    cifarlab: Command, copied: RunFolder, tmp_path: Path
) -> None:
    output = cifarlab("evaluate", copied.path, "--full", "--images", 6)
    assert (output.code, output.err) == (0, "")
    assert output.out.startswith("10 classes: 0, 1, ")
    for text in ("val accuracy", "ten-crop", "glass blur", "mean corruption accuracy", "n = 6"):
        assert text in output.out
    assert copied.evaluation("val")["command"].endswith("--full --images 6")
    assert cifarlab("report", copied.path).code == 0
    page = (copied.path / "report" / "report.html").read_text()
    assert "Under shift" in page and "validation split of digits" in page


def test_groups_are_printed(cifarlab: Command, copied: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text("round: ['0', '6', '8', '9']\n")
    output = cifarlab("evaluate", copied.path, "--groups", tmp_path / "groups.yaml")
    assert output.code == 0 and "round: " in output.out
    assert "calibration error" in output.out and "top 1: " in output.out


@pytest.mark.parametrize(
    "words", [["--full", "--tta-views", "2"], ["--ood", "digits"], ["--images", "5"]]
)
def test_options_that_do_not_fit(cifarlab: Command, copied: RunFolder, words: list[str]) -> None:
    assert cifarlab("evaluate", copied.path, *words).code == 2


def test_an_audit_is_printed_and_kept(cifarlab: Command, copied: RunFolder) -> None:
    output = cifarlab("audit", copied.path, "--folds", 2)
    assert (output.code, output.err) == (0, "")
    assert output.out.startswith("10 classes: 0, 1, ")
    for text in ("near-equal pairs", "labels judged by 2 folds", "given label", "audit: "):
        assert text in output.out
    assert copied.provenance()["test_openings"][-1]["opener"] == "train"  # as before
    assert cifarlab("report", copied.path).code == 0
    assert "probably wrong" in (copied.path / "report" / "report.html").read_text()


def test_an_audit_of_a_recipe_has_a_folder_of_its_own(cifarlab: Command) -> None:
    output = cifarlab("audit", "quickstart", "--folds", 0)
    assert output.code == 0 and "labels judged" not in output.out
    [folder] = Path("audits").iterdir()
    assert folder.name.startswith("quickstart-") and (folder / "findings.json").exists()


def test_an_audit_of_files_names_them_in_the_terminal_and_in_tables(
    cifarlab: Command, tmp_path: Path
) -> None:
    draws = np.random.default_rng(0)
    for split, label in [(s, k) for s in ("train", "test") for k in "ab"]:
        (tmp_path / "files" / split / label).mkdir(parents=True)
        for n in range(12):
            pixels = draws.integers(0, 200, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "files" / split / label / f"[b]{n}.png")
    image = Image.open(tmp_path / "files/train/a/[b]3.png")
    image.save(tmp_path / "files/test/b/twin.png")
    words = [f"data.source={tmp_path / 'files'}", "training.duration=2 steps", "--folds", 2]
    words += ["schedule.kind=constant", "--test", "--csv", "--out", tmp_path / "audit"]
    output = cifarlab("audit", "quickstart", *words)
    assert (output.code, output.err) == (0, "")
    text = " ".join(output.out.split())
    assert "train: train/a/[b]3.png test: test/b/twin.png" in text
    assert "too weak to judge" in text
    files = [f"{tmp_path / 'audit' / name}.csv" for name in ("pairs", "labels")]
    assert f"tables: {', '.join(files)}" in output.out
    labels, pairs = ((tmp_path / "audit" / f"{n}.csv").read_text() for n in ("labels", "pairs"))
    [row] = csv.DictReader(io.StringIO(pairs))
    assert (row["image_a"], row["image_b"]) == ("train/a/[b]3.png", "test/b/twin.png")
    assert len(list(csv.DictReader(io.StringIO(labels)))) == 22
    assert "test_openings" in (tmp_path / "audit" / "test_openings.json").read_text()


def test_a_prediction_in_each_format(cifarlab: Command, finished: RunFolder, picture: Path) -> None:
    assert str(picture) in cifarlab("predict", finished.path, picture).out
    text = cifarlab("predict", finished.path, picture, "--format", "csv").out
    [row] = csv.DictReader(io.StringIO(text))
    assert row["id"] == str(picture) and sum(float(row[str(k)]) for k in range(10)) > 0.999
    kaggle = cifarlab("predict", finished.path, picture, "--format", "kaggle").out
    assert kaggle == f"ID,Labels\n7,{row['class']}\n"
    out = picture.with_name("answers.csv")
    words = ["predict", finished.path, picture, "--format", "kaggle", "--out", out]
    assert cifarlab(*words).out == ""
    assert out.read_text() == kaggle


def test_predictions_that_are_refused(
    cifarlab: Command, finished: RunFolder, picture: Path
) -> None:
    sample = picture.with_name("sample.csv")
    sample.write_text("ID,Labels\n8,0\n")
    for words in (
        ["--format", "kaggle", "--sample-submission", sample],
        ["--format", "xml"],
        ["--resize-mode", "bend"],
    ):
        output = cifarlab("predict", finished.path, picture, *words)
        assert output.code == 2 and output.out == "" and output.err.startswith("error: ")


@pytest.mark.parametrize(
    "words",
    [
        ["--format", "xml"],
        ["--sample-submission", "s.csv"],
        ["--format", "kaggle", "--sample-submission", "none.csv"],
    ],
)
def test_a_wrong_format_is_refused_before_anything_is_predicted(
    cifarlab: Command,
    finished: RunFolder,
    picture: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predicted: list[object] = []
    monkeypatch.setattr(
        "cifarlab.inference.run_predictor.predict_images", lambda *args: predicted.append(args)
    )
    assert cifarlab("predict", finished.path, picture, *words).code == 2
    assert not predicted
