"""A run in its worker: it sends each epoch, waits for the answer, stops, and is resumed."""

import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from made_search import TINY

from cifarlab.experiments import worker
from cifarlab.experiments.worker import LEAVE, Job, JobResult, train_job
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.system.errors import Interrupted, RunFolderError, StorageError
from cifarlab.system.signals import StopRequest
from cifarlab.training.train import train

RECIPE = change(find("quickstart"), {**TINY, "training.duration": "4 epochs", "seed": 3})


class AnsweringDriver:
    """A driver that answers each epoch with ``answers`` and after them lets the run go on."""

    def __init__(self, *answers: Any, leave_after: int = 99) -> None:
        self.answers, self.lines = list(answers), []
        self.leave_after, self.steps = leave_after, 0

    def send(self, line: dict[str, Any]) -> None:
        self.lines.append(line)

    def recv(self) -> Any:
        return self.answers.pop(0) if self.answers else True

    def poll(self) -> bool:
        self.steps += 1
        return self.steps >= self.leave_after

    @property
    def epochs(self) -> list[int]:
        return [line["epoch"] for line in self.lines]


def job(path: Path, **changes: Any) -> Job:
    names = {name.replace("__", "."): value for name, value in changes.items()}
    return Job("made", change(RECIPE, names), str(path / "run"), "cifarlab study made")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The same recipe trained without an engine: its metrics."""
    folder = RunFolder(tmp_path_factory.mktemp("reference"))
    train(RECIPE, folder)
    return folder.metrics.read()


def test_a_machine_without_the_shared_folder_says_so_and_makes_none(tmp_path: Path) -> None:
    result = train_job(job(tmp_path / "study"), AnsweringDriver())
    assert result.failure and "does not see" in result.failure.what
    assert "all its machines" in result.failure.hint and not list(tmp_path.iterdir())


def test_a_whole_run_is_the_run_that_its_recipe_gives_without_an_engine(
    reference: list[dict[str, Any]], tmp_path: Path
) -> None:
    driver = AnsweringDriver()
    assert train_job(job(tmp_path), driver) == JobResult("planned", has_result=True)
    metrics = RunFolder(tmp_path / "run").metrics.read()
    assert driver.lines == metrics and without_cost(metrics) == without_cost(reference)


def test_a_stopped_run_ends_cleanly_at_its_epoch(
    reference: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert train_job(job(tmp_path), AnsweringDriver(True, False)) == JobResult(
        "stopped", has_result=True
    )
    result = RunFolder(tmp_path / "run").result()
    assert result and result["stop_reason"] == "stopped" and result["epochs"] == 2
    assert without_cost(RunFolder(tmp_path / "run").metrics.read()) == without_cost(reference[:2])


@pytest.mark.parametrize("driver", [AnsweringDriver(True, LEAVE), AnsweringDriver(leave_after=8)])
def test_a_left_run_goes_on_in_another_worker(
    driver: AnsweringDriver, reference: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted):
        train_job(job(tmp_path), driver)
    assert folder.exists and not folder.is_finished and 0 < len(folder.metrics.read()) < 4
    second = AnsweringDriver()
    assert train_job(job(tmp_path), second) == JobResult(
        "planned", has_result=True
    ) and second.epochs == [
        1,
        2,
        3,
        4,
    ]
    assert len(folder.provenance()["starts"]) == 2
    assert without_cost(folder.metrics.read()) == without_cost(reference)


def test_a_run_stopped_while_the_driver_died_only_finishes(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train_job(job(tmp_path), AnsweringDriver(LEAVE))
    second = AnsweringDriver(False)
    assert train_job(job(tmp_path), second) == JobResult("stopped", has_result=True)
    result = RunFolder(tmp_path / "run").result()
    assert result and result["epochs"] == 1 and second.epochs == [1]


def test_the_result_of_a_finished_run_is_sent_again(tmp_path: Path) -> None:
    train_job(job(tmp_path), AnsweringDriver(True, False))
    before = RunFolder(tmp_path / "run").result()
    second = AnsweringDriver()
    assert train_job(job(tmp_path), second) == JobResult(
        "stopped", has_result=True
    ) and second.epochs == [1, 2]
    assert RunFolder(tmp_path / "run").result() == before


def test_a_diverged_run_fails_with_its_reason(tmp_path: Path) -> None:
    driver = AnsweringDriver()
    result = train_job(job(tmp_path, optimizer__lr=1e30), driver)
    assert result.stop_reason == "failed" and result.failure
    assert result.failure.kind == "DivergenceError" and driver.lines == []


@pytest.mark.parametrize("error", [MemoryError(), AssertionError("a fault")])
def test_of_other_errors_those_of_cifarlab_are_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Another may have spoilt the process."""

    def raise_error(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("cifarlab.training.train.fit", raise_error)
    if isinstance(error, MemoryError):
        result = train_job(job(tmp_path), AnsweringDriver())
        assert result.failure and result.failure.kind == "OutOfMemoryError"
        return
    with pytest.raises(AssertionError, match="a fault"):
        train_job(job(tmp_path), AnsweringDriver())


def test_a_full_disk_is_no_failure_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_disk_full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", raise_disk_full)
    with pytest.raises(StorageError, match="No space left"):
        train_job(job(tmp_path), AnsweringDriver())


def test_that_another_process_holds_a_run_is_no_failure_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_HANDOVER", 1)
    with (
        RunFolder(tmp_path / "run").lock(),
        pytest.raises(RunFolderError, match="held by another"),
    ):
        train_job(job(tmp_path), AnsweringDriver())


def test_a_run_that_another_process_holds_can_be_left(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run").lock(), pytest.raises(Interrupted):
        train_job(job(tmp_path), AnsweringDriver(leave_after=2))


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_can_be_left_while_it_replays_old_epochs(finished: bool, tmp_path: Path) -> None:
    """The driver answers once, and nothing after it."""
    with pytest.raises(Interrupted) if not finished else nullcontext():
        train_job(
            job(tmp_path), AnsweringDriver() if finished else AnsweringDriver(True, True, LEAVE)
        )
    driver = AnsweringDriver(LEAVE)
    with pytest.raises(Interrupted):
        train_job(job(tmp_path), driver)
    assert driver.epochs == [1]


def test_a_signal_is_not_lost_in_a_later_failure(tmp_path: Path) -> None:
    class Failing(AnsweringDriver):
        def recv(self) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("made")

    with pytest.raises(Interrupted) as caught:
        train_job(job(tmp_path), Failing())
    assert caught.value.signum == signal.SIGTERM


def test_of_two_stop_requests_the_stronger_counts() -> None:
    stop = StopRequest()
    stop.ask("stopped")
    stop.ask("signal", signal.SIGINT)
    stop.ask("stopped")
    assert stop == StopRequest("signal", signal.SIGINT)
