"""A study that runs in a moment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_plan import STUDY, make_up

from cifarlab.experiments.placement import Placement
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.engine import FinishedStudy, run_study
from cifarlab.experiments.worker import Job, JobResult

Train = Callable[[Job], JobResult]


def no_figures(*_: Any) -> None:
    """Write nothing."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FinishedStudy]:
    """Run the study in a folder with a function in place of the training."""

    def run_made(train: Train = make_up, study: Study = STUDY, **options: Any) -> FinishedStudy:
        monkeypatch.setattr("cifarlab.experiments.study.engine.write_comparison", no_figures)
        options = {
            "runs": tmp_path,
            "placement": Placement(train=lambda job, _: train(job)),
            **options,
        }
        return run_study(study, **options)

    return run_made
