"""Studies of which the answer is known before, with real runs on the embedded digits."""

from typing import Any

import pytest

from cifarlab.experiments.study.definition import Row, Study
from cifarlab.experiments.study.engine import Studied, run_study

STUDY = Study(
    name="tests/known",
    n_seeds=5,
    overrides={"training.precision": "float32"},
    rows=(
        Row(name="clean", recipe="quickstart"),
        Row(name="again", recipe="quickstart"),
        Row(
            name="noisy",
            recipe="quickstart",
            overrides={"data.noise.kind": "symmetric", "data.noise.share": 0.4},
        ),
    ),
)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    return run_study(STUDY, runs=tmp_path_factory.mktemp("known"))


def line(studied: Studied, row: str) -> Any:
    return next(line for line in studied.comparison.lines if line.row == row)


def test_forty_percent_of_wrong_labels_are_worse(studied):
    noisy = line(studied, "noisy")
    assert noisy.verdict == "worse"
    assert noisy.p < 0.05 and noisy.pairs.difference.interval[1] < 0
    assert noisy.accuracy.mean < line(studied, "clean").accuracy.mean - 0.01


def test_equal_recipes_show_no_difference_and_are_trained_once(studied):
    again = line(studied, "again")
    assert again.verdict == "no difference: the same recipe as the baseline"
    assert again.accuracies == line(studied, "clean").accuracies
    assert len(list(studied.folder.path.glob("*-s*"))) == 10
