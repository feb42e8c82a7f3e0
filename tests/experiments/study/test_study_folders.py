"""Where the runs of a study lie, and where they were trained."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_plan import make_up

from cifarlab.experiments.study.engine import FinishedStudy
from cifarlab.experiments.worker import Job, JobResult


def test_a_worker_in_another_folder_trains_in_the_same_run_folder(
    run: Callable[..., FinishedStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def train_elsewhere(job: Job) -> JobResult:
        with monkeypatch.context() as context:
            context.chdir("elsewhere")
            return make_up(job)

    finished = run(train_elsewhere, runs=Path("runs"), until="seeds", n_seeds=1)
    assert finished.n_failed == 0 and not list((tmp_path / "elsewhere").iterdir())


def test_a_run_that_no_shared_folder_holds_is_a_failed_one(
    run: Callable[..., FinishedStudy],
) -> None:
    lines: list[str] = []

    def train(job: Job) -> JobResult:
        return JobResult("planned", has_result=True) if job.name == "good" else make_up(job)

    finished = run(train, until="seeds", n_seeds=2, log=lines.append)
    assert finished.n_failed == 2 and "written to another disk" in "".join(lines)
    assert run(until="seeds", n_seeds=2).n_failed == 0
