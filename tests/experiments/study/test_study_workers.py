"""Several runs at a time: failures, dying workers and the wish to stop."""

import os
import signal
import time
from pathlib import Path

import pytest

from cifarlab.experiments.study.workers import Failure, RunJob, train_in_processes
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import Interrupted, StorageError

FAILURE = Failure("DivergenceError", "NaN", "lower the rate")


def work(job: RunJob) -> Failure | None:
    """What a worker does in these tests, by the job's name."""
    Path(job.path).write_text(str(os.getpid()))
    if job.row == "dies":
        os._exit(9)
    if job.row == "fails":
        return FAILURE
    if job.row == "full":
        raise StorageError("can't write", "free some space")
    if job.row == "slow":
        time.sleep(0.5)
    return None


class Told(dict[str, Failure | None]):
    """How each job ended, by its number."""

    def __call__(self, job: RunJob, failure: Failure | None) -> None:
        assert job.command not in self, "told twice"
        self[job.command] = failure


def jobs(path: Path, *rows: str) -> list[RunJob]:
    return [RunJob(r, Recipe(), str(path / f"{n}"), f"{r} {n}") for n, r in enumerate(rows)]


def test_a_failure_is_told_and_workers_are_reused(tmp_path: Path) -> None:
    told = Told()
    train_in_processes(jobs(tmp_path, "fine", "fails", *["fine"] * 4), 2, lambda: 0, told, work)
    assert [told[k] for k in sorted(told, key=lambda k: k[-1])] == [None, FAILURE, *[None] * 4]
    processes = {file.read_text() for file in tmp_path.iterdir()}
    assert len(processes) <= 2 and str(os.getpid()) not in processes


def test_a_worker_that_dies_costs_its_own_run_only(tmp_path: Path) -> None:
    told = Told()
    train_in_processes(jobs(tmp_path, "fine", "dies", "fine", "fails"), 2, lambda: 0, told, work)
    assert set(told) == {"fine 0", "dies 1", "fine 2", "fails 3"}
    assert told["dies 1"].kind == "WorkerDied" and "memory" in told["dies 1"].hint
    assert told["fails 3"] == FAILURE
    assert told["fine 0"] is None and told["fine 2"] is None


def test_a_full_disk_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't write"):
        train_in_processes(jobs(tmp_path, "full", *["slow"] * 8), 2, lambda: 0, Told(), work)
    assert len(list(tmp_path.iterdir())) < 9


def test_asked_to_stop_no_further_run_begins(tmp_path: Path) -> None:
    told = Told()

    def asked() -> int:
        return signal.SIGTERM if told else 0

    with pytest.raises(Interrupted) as caught:
        train_in_processes(jobs(tmp_path, *["slow"] * 9), 2, asked, told, work)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert 1 <= len(told) < 9
