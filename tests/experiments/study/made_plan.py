"""A study of four rows whose runs are made up: one good, one the same, one open."""

import json
from typing import Any

import numpy as np
from made_study import write_run

from cifarlab.data.opening import open_data
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import FinishedStudy
from cifarlab.experiments.worker import Job, JobResult
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.schemas import as_json

LR = "optimizer.lr"
STUDY = Study(
    name="tests/race",
    until="decided",
    margin=0.2,
    most=8,
    rows=(
        StudyRow(name="base", recipe="quickstart"),
        StudyRow(name="good", recipe="quickstart", overrides={LR: 0.2}),
        StudyRow(name="same", recipe="quickstart", overrides={LR: 0.11}),
        StudyRow(name="open", recipe="quickstart", overrides={LR: 0.3}),
    ),
)
EFFECTS = {"base": 0.0, "good": 0.05, "same": 0.0, "open": 0.0015}
SPREADS = {"base": 0.0, "good": 0.004, "same": 0.0006, "open": 0.004}


class KilledError(BaseException):
    """What a kill looks like from within: nothing handles it."""


def accuracy_of(row: str, seed: int) -> float:
    draw = np.random.default_rng([seed, len(row)])
    return 0.9 + 0.01 * np.sin(seed) + EFFECTS[row] + SPREADS[row] * draw.normal()


def make_up(job: Job) -> JobResult:
    """Finish a run at once, with an accuracy that follows from its row and seed."""
    images = open_data(job.recipe.data).dataset.fingerprint
    accuracy = accuracy_of(job.name, job.recipe.seed)
    write_run(RunFolder(job.path), job.recipe, accuracy, "digits", images)
    return JobResult("planned")


def content_of(finished: FinishedStudy) -> Any:
    return json.loads((finished.folder.path / "study.json").read_text())


def seeds_by_row(finished: FinishedStudy) -> dict[str, int]:
    return {row.name: len(row.values) for row in finished.comparison.rows}


def plain(finished: FinishedStudy) -> Any:
    return as_json(finished.comparison._replace(runs=()))
