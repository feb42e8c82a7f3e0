"""Studies of which the answer is known before, with real runs on the embedded digits."""

from typing import Any

import pytest

from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import FinishedStudy, run_study

STUDY = Study(
    name="tests/known",
    n_seeds=5,
    overrides={"training.precision": "float32"},
    rows=(
        StudyRow(name="clean", recipe="quickstart"),
        StudyRow(name="again", recipe="quickstart"),
        StudyRow(
            name="noisy",
            recipe="quickstart",
            overrides={"data.label_noise.kind": "symmetric", "data.label_noise.noise_rate": 0.4},
        ),
    ),
)


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    return run_study(STUDY, runs=tmp_path_factory.mktemp("known"))


def line(finished_study: FinishedStudy, row: str) -> Any:
    return next(line for line in finished_study.comparison.rows if line.name == row)


def test_forty_percent_of_wrong_labels_are_worse(finished_study):
    noisy = line(finished_study, "noisy")
    assert noisy.verdict == "worse"
    assert noisy.p < 0.05 and noisy.pairs.difference.interval[1] < 0
    assert noisy.summary.mean < line(finished_study, "clean").summary.mean - 0.01


def test_equal_recipes_show_no_difference_and_are_trained_once(finished_study):
    twin = line(finished_study, "again")
    assert twin.verdict == "no difference: the same recipe as the baseline"
    assert twin.values == line(finished_study, "clean").values
    assert len(list(finished_study.folder.path.glob("*-s*"))) == 10
