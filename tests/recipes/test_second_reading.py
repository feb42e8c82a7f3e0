"""Where each line of the second reading of the five reports went (what decides their settings).

The sentences and lines are those of ``second_reading.md``; where the reading itself lies beside the
project, that file is compared with it.
"""

import re
from fnmatch import filter as matching
from pathlib import Path

import pytest
from reading_checks import setting
from second_reading import FIRST_READING, PARAGRAPHS, PLANNED, TABLE

from cifarlab.experiments.study.definition import find_study
from cifarlab.recipes.catalog import find, shipped_recipes

COPY = Path(__file__).with_name("second_reading.md")
READING = Path(__file__).parents[3] / "shared" / "papers" / "README.md"
RECIPES = shipped_recipes()
KTH = [*matching(RECIPES, "kth2022/*"), *matching(RECIPES, "kth2024/*")]
OTHERS = [name for n in ("asha2021", "fudan", "nyu2024") for name in matching(RECIPES, f"{n}/*")]
SELECTING = {"kth2022/early-stopping-*", "kth2022/checkpoint-*"}
OTHER_PRECISION = "kth2022/norm-batch-bfloat16"
ALL_IMAGES = "nyu2024/competition"  # its test images are the competition's

CONTRADICTIONS = {
    "kth2022/best-cnn": "400 epochs",
    "kth2024/weight-decay": "0.001 %",
    "asha2021/resnet34-schedule": "92.3",
    "nyu2024/resnet": "every 20",
    "fudan/resnet24": "without data augmentation",
    "fudan/mixup": "94.59",
}


def read_table(path: Path) -> list[str]:
    """The lines of a table of reports and sentences, as ``report: sentence``."""
    _, _, table = path.read_text(encoding="utf-8").partition("| report | sentence |")
    rows = [line.split("|")[1:3] for line in table.partition("\n\n")[0].splitlines()[2:]]
    return [f"{report.strip()}: {sentence.strip()}" for report, sentence in rows]


def read_sentences(path: Path) -> list[str]:
    """The sentences under the bold heads above that table, cut at semicolons too."""
    text, _, _ = path.read_text(encoding="utf-8").partition("| report | sentence |")
    parts = re.findall(r"^\*\*.+?\*\* (.+?)\n\n", text, re.DOTALL | re.MULTILINE)
    return [s for part in parts for s in re.split(r"(?<=[^.][.;]) ", " ".join(part.split()))]


LINES = read_table(READING if READING.exists() else COPY)


def test_the_copy_has_all_lines_of_the_reading():
    assert read_table(COPY) == LINES
    assert len(LINES) == 24


def test_the_copy_has_all_sentences_above_the_table():
    sentences = read_sentences(COPY)
    assert len(sentences) == 24
    if READING.exists():
        assert read_sentences(READING) == sentences


def test_each_sentence_above_the_table_has_an_entry_and_each_entry_a_sentence():
    sentences = read_sentences(COPY)
    matches = [[entry for entry in PARAGRAPHS if entry in sentence] for sentence in sentences]
    assert [entry for entries in matches for entry in entries] == [*PARAGRAPHS]
    assert [s for s, entries in zip(sentences, matches, strict=True) if not entries] == []


def test_each_line_of_the_table_has_an_entry_and_each_entry_a_line():
    entries = [[entry for entry in TABLE if line.startswith(entry)] for line in LINES]
    assert entries == [[entry] for entry in TABLE]


@pytest.mark.parametrize("line", [*FIRST_READING, *PARAGRAPHS, *TABLE])
def test_each_line_went_somewhere(line):
    checks = (FIRST_READING | PARAGRAPHS | TABLE)[line]
    assert bool(checks) == (line != PLANNED)
    for check, *arguments in checks:
        check(*arguments)


def test_nobody_watches_the_test_images_and_who_selects_holds_out():
    selecting = {name for pattern in SELECTING for name in matching(RECIPES, pattern)}
    assert len(selecting) == 4
    held_out = {name for name in KTH if setting(find(name), "data.val_fraction")}
    assert held_out == selecting


def test_the_other_reports_hold_ten_per_cent_out_and_the_best_epoch_counts():
    assert len(OTHERS) > 70
    for name in OTHERS:
        keys = ("data.val_fraction", "evaluation.checkpoint")
        evaluated = tuple(setting(find(name), key) for key in keys)
        assert evaluated == ((0.0, "last") if name == ALL_IMAGES else (0.1, "best")), name


@pytest.mark.parametrize("study", ["kth2022-held-out", "kth2024-held-out"])
def test_twins_hold_ten_per_cent_out(study):
    recipes = find_study(study).recipes().values()
    assert {recipe.data.val_fraction for recipe in recipes} == {0.1}


def test_small_networks_compute_in_float32_and_residual_ones_choose():
    for name in KTH + OTHERS:
        small = setting(find(name), "model.kind") == "cnn"
        expected = "float32" if small else "auto"
        if name == OTHER_PRECISION:
            expected = "bfloat16"
        assert setting(find(name), "training.precision") == expected, name


@pytest.mark.parametrize("recipe", CONTRADICTIONS)
def test_contradictions_stand_beside_the_number(recipe):
    reported = RECIPES[recipe].reported
    assert reported is not None
    assert CONTRADICTIONS[recipe] in reported.contradiction


def test_the_reports_numbers_by_class_ship():
    rows = ("asha2021/classic", "asha2021/resnet34", "asha2021/resnet34-schedule")
    numbers = [RECIPES[row].reported for row in rows]
    means = [sum(n.classes.values()) / len(n.classes) for n in numbers if n]
    assert [round(mean, 2) for mean in means] == [64.38, 87.77, 92.37]
    mixup = RECIPES["fudan/mixup"].reported
    assert mixup is not None
    assert sum(row[i] for i, row in enumerate(mixup.confusion_matrix)) == 9459
    assert [sum(row) for row in mixup.confusion_matrix] == [1000] * 10
