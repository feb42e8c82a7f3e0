"""Several runs at a time in processes: failures, dying workers and requests to stop."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cifarlab.experiments.engine import ThisProcess, Worker, Workers, run_experiment
from cifarlab.experiments.local_workers import local_workers
from cifarlab.experiments.worker import LEAVE, WORKER_READY, Driver, Failure, Job, JobResult, work
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, RunFolderError, StorageError, UserError
from cifarlab.system.signals import stop_on_signal
from cifarlab.system.spawning import _shielded_spawn

FAILURE = Failure("DivergenceError", "NaN", "lower the learning rate")


def train_made_job(job: Job, driver: Driver) -> JobResult:
    """Do what the job's name says instead of training."""
    with Path(job.path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if job.name == "dies" or (job.name == "dies once" and len(read_pids(job.path)) == 1):
        os._exit(9)
    if job.name == "dies with progress":
        epoch = len(read_pids(job.path))
        driver.send({"epoch": epoch})
        driver.recv()
        if epoch < 6:
            os._exit(9)
        return JobResult("planned")
    if job.name == "breaks":
        raise RuntimeError("CUDA error: device-side assert triggered")
    if job.name == "held":
        raise RunFolderError("held by another process", "end it")
    if job.name == "fails":
        return JobResult(failure=FAILURE)
    if job.name == "elsewhere":
        return JobResult("planned", has_result=True)
    if job.name == "full":
        raise StorageError("can't write", "free some space")
    for epoch in range(1, 101 if job.name == "slow" else 2):
        driver.send({"epoch": epoch})
        if not (answer := driver.recv()):
            return JobResult("stopped")
        if answer == "leave":
            raise Interrupted("left", "go on", signal.SIGINT)
        time.sleep(0.05 if job.name == "slow" else 0)
    return JobResult("planned")


def read_pids(path: str | Path) -> list[str]:
    return Path(path).read_text().split()


class MadeExperiment:
    """Jobs with these names; their results and epochs, by number."""

    def __init__(self, path: Path, *names: str) -> None:
        self.jobs = [
            Job(name, Recipe(), str(path / f"{number}"), "made")
            for number, name in enumerate(names)
        ]
        self.waiting = list(self.jobs)
        self.results: dict[int, JobResult] = {}
        self.epochs: list[tuple[int, int]] = []

    @property
    def progress(self) -> str:
        return f"{len(self.results)} of {len(self.jobs)} runs"

    def next_job(self) -> Job | None:
        return self.waiting.pop(0) if self.waiting else None

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        self.epochs.append((int(Path(job.path).name), line["epoch"]))
        return job.name != "hopeless"

    def on_end(self, job: Job, result: JobResult) -> None:
        number = int(Path(job.path).name)
        assert number not in self.results, "ended twice"
        self.results[number] = result
        if job.name == "signal":
            os.kill(os.getpid(), signal.SIGTERM)


def run(experiment: MadeExperiment, **options: Any) -> None:
    workers = local_workers(2, lambda line: None, train_made_job)
    run_experiment(experiment, "cifarlab made --resume", workers, **options)


def test_each_result_arrives_and_workers_are_reused(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, "fine", "fails", "hopeless", *["fine"] * 4)
    run(experiment)
    fine = JobResult("planned")
    expected = [fine, JobResult(failure=FAILURE), JobResult("stopped"), *[fine] * 4]
    assert [experiment.results[n] for n in range(7)] == expected
    assert sorted(experiment.epochs) == [(n, 1) for n in (0, 2, 3, 4, 5, 6)]
    processes = {pid for file in tmp_path.iterdir() for pid in read_pids(file)}
    assert len(processes) <= 2 and str(os.getpid()) not in processes


def test_a_worker_that_dies_costs_its_own_run_only(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, "fine", "dies", "dies once", "fails")
    run(experiment)
    failure = experiment.results[1].failure
    assert failure and failure.kind == "WorkerDied" and "memory" in failure.hint
    assert "exit code 9" in failure.what and len(read_pids(tmp_path / "1")) == 4
    assert experiment.results[2] == JobResult("planned") and len(read_pids(tmp_path / "2")) == 2
    assert experiment.results[0] == JobResult("planned")
    assert experiment.results[3] == JobResult(failure=FAILURE)


def test_a_run_that_gets_further_in_each_life_never_fails(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, "dies with progress")
    run(experiment)
    assert experiment.results[0] == JobResult("planned") and len(read_pids(tmp_path / "0")) == 6


def train_where_data_are(job: Job, driver: Driver) -> JobResult:
    """Fail at once in the worker that asked first, as on a machine without the data."""
    first = Path(job.path).parent / "first"
    with suppress(FileExistsError), first.open("x") as file:
        file.write(str(os.getpid()))
    time.sleep(0.2)  # the first has written, the other is there
    if first.read_text() == str(os.getpid()):
        return JobResult(failure=Failure("DataError", "no such folder", "download it"))
    return JobResult("planned")


def test_a_bad_machine_costs_no_run(tmp_path: Path) -> None:
    experiment, lines = MadeExperiment(tmp_path, *["fine"] * 12), list[str]()
    workers = local_workers(2, lines.append, train_where_data_are)
    run_experiment(experiment, "cifarlab made", workers)
    assert [experiment.results[n] for n in range(12)] == [JobResult("planned")] * 12
    assert lines[-1] == "one of 2 workers gets no more runs: no such folder"


@pytest.mark.parametrize("workers", ["here", "process"])
def test_a_run_whose_result_lies_on_another_disk_has_failed(tmp_path: Path, workers: str) -> None:
    experiment = MadeExperiment(tmp_path, "elsewhere")
    local = local_workers(1, lambda line: None, train_made_job)
    run_experiment(experiment, "made", ThisProcess(train_made_job) if workers == "here" else local)
    failure = experiment.results[0].failure
    assert failure and "written to another disk" in failure.what and "one folder" in failure.hint


def fail_everywhere(job: Job, driver: Driver) -> JobResult:
    """Fail for a reason that may be the machine's."""
    with Path(job.path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return JobResult(failure=Failure("DataError", "no such folder", "download it"))


def test_what_fails_everywhere_is_recorded_after_two_workers_tried(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, *["fine"] * 6)
    workers = local_workers(2, lambda line: None, fail_everywhere)
    run_experiment(experiment, "cifarlab made", workers)
    assert {result.failure.kind for result in experiment.results.values()} == {"DataError"}
    pids = [read_pids(tmp_path / str(number)) for number in range(6)]
    assert any(len(tries) == 2 for tries in pids)
    assert all(len(tries) <= 2 for tries in pids)


def test_after_an_error_that_is_none_of_ours_a_run_has_a_new_process(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, "breaks", "fine")
    run_experiment(experiment, "made", local_workers(1, lambda line: None, train_made_job))
    failure = experiment.results[0].failure
    assert failure and "device-side assert" in failure.what
    assert experiment.results[1] == JobResult("planned")
    assert read_pids(tmp_path / "0") != read_pids(tmp_path / "1")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_in_this_process_such_an_error_on_a_gpu_ends_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(
        "cifarlab.system.device.fastest_device", lambda: SimpleNamespace(type=device)
    )
    experiment = MadeExperiment(tmp_path, "breaks", "fine")
    with pytest.raises(RuntimeError) if device == "cuda" else nullcontext():
        run_experiment(experiment, "made", ThisProcess(train_made_job))
    assert len(experiment.results) == (0 if device == "cuda" else 2)


def test_a_run_that_kills_this_process_is_not_begun_for_ever(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, "fine", "fine", "fine")
    for number, steps in enumerate([[0, 0, 0, 0], [0, 0, 0, 11]]):
        starts = [{"step": step} for step in steps]
        RunFolder(tmp_path / str(number)).write_provenance({"starts": starts})
    run_experiment(experiment, "made", ThisProcess(lambda job, driver: JobResult("planned")))
    failure = experiment.results[0].failure
    assert failure and failure.kind == "WorkerDied" and "--jobs 1" in failure.hint
    assert experiment.results[1] == experiment.results[2] == JobResult("planned")


def dead_worker() -> Worker:
    """A worker whose process ends before it is ready."""
    parent, child = Pipe()
    child.close()
    return Worker(parent, lambda message: None, lambda: str(parent.close()) and "exit code 1")


def test_workers_that_never_start_are_no_fault_of_the_runs(tmp_path: Path) -> None:
    experiment, slots = MadeExperiment(tmp_path, *["fine"] * 3), []

    def start(slot: int) -> Worker:
        slots.append(slot)
        return dead_worker()

    with pytest.raises(UserError, match="no worker starts: exit code 1"):
        run_experiment(experiment, "cifarlab made", Workers(2, start))
    assert not experiment.results and max(slots.count(0), slots.count(1)) == 4

    local = local_workers(1, lambda line: None, train_made_job)
    mixed = Workers(2, lambda slot: local.start(0) if slot else dead_worker())
    experiment = MadeExperiment(tmp_path, *["fine"] * 3)
    run_experiment(experiment, "cifarlab made", mixed)
    assert [experiment.results[n] for n in range(3)] == [JobResult("planned")] * 3


def test_an_idle_worker_s_death_is_no_fault_of_the_next_run(tmp_path: Path) -> None:
    local, deaths = local_workers(1, lambda line: None, train_made_job), []

    def start(slot: int) -> Worker:
        worker = local.start(slot)

        def send(message: Any) -> None:
            if isinstance(message, Job) and message.name == "next" and len(deaths) < 4:
                deaths.append(message)
                worker.send(message._replace(name="dies", path=str(tmp_path / "idle")))
                raise BrokenPipeError
            worker.send(message)

        return worker._replace(send=send)

    experiment = MadeExperiment(tmp_path, "fine", "next", "dies once")
    run_experiment(experiment, "cifarlab made", Workers(2, start))
    assert len(deaths) == 4
    assert [experiment.results[n] for n in range(3)] == [JobResult("planned")] * 3


@pytest.mark.parametrize(("name", "error"), [("full", StorageError), ("held", RunFolderError)])
def test_a_full_disk_and_a_run_that_is_held_end_the_experiment(
    tmp_path: Path, name: str, error: type[Exception]
) -> None:
    experiment = MadeExperiment(tmp_path, name, *["slow"] * 8)
    with pytest.raises(error, match=r"can't write|held by"):
        run(experiment)
    assert not experiment.results
    assert len(list(tmp_path.iterdir())) < 4


def test_after_a_signal_no_further_run_begins(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, "signal", *["slow"] * 8)
    with pytest.raises(Interrupted, match="interrupted after 1 of 9 runs") as caught:
        run(experiment)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert caught.value.hint == "go on with: cifarlab made --resume"
    # the one at hand was left, too, if its worker was there by then
    assert {path.name for path in tmp_path.iterdir()} <= {"0", "1"}


def test_at_the_time_limit_runs_are_left_without_an_error(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, *["slow"] * 50)
    begun = time.monotonic()
    run(experiment, end=time.monotonic() + 1)
    assert len(experiment.results) < 50 and time.monotonic() - begun < 20


def test_at_the_time_limit_a_run_in_this_process_is_left_at_its_checkpoint(
    tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = MadeExperiment(tmp_path)
    clock = SimpleNamespace(monotonic=lambda: 9.0 if experiment.epochs else 0.0)
    monkeypatch.setattr("cifarlab.experiments.engine.time", clock)
    recipe = tiny({"training.duration": "100 epochs"})
    experiment.waiting = [Job("long", recipe, str(tmp_path / str(n)), "made") for n in range(2)]
    run_experiment(experiment, "cifarlab made", ThisProcess(), 4.0)
    assert experiment.epochs == [(0, 1)]
    first, second = (RunFolder(tmp_path / str(n)) for n in range(2))
    assert first.weights("last").is_file() and not first.is_finished
    assert not experiment.results and not second.exists


def test_an_idle_worker_takes_the_job_of_one_that_never_starts(tmp_path: Path) -> None:
    """As on a cluster whose machine for it is gone."""
    local = local_workers(1, lambda line: None, train_made_job)
    silent: list[Any] = []

    def start(slot: int) -> Worker:
        if slot == 0:
            return local.start(0)
        parent, *children = Pipe()
        silent.extend(children)
        return Worker(parent, lambda message: None, lambda: str(parent.close()))

    experiment = MadeExperiment(tmp_path, "fine", "fine", "fine")
    run_experiment(experiment, "cifarlab made", Workers(2, start))
    assert silent and [experiment.results[n] for n in range(3)] == [JobResult("planned")] * 3


def test_at_the_time_limit_a_worker_that_never_starts_was_mentioned_and_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifarlab.experiments.engine._PATIENCE", 0.1)
    parent, _child = Pipe()
    worker = Worker(parent, lambda message: None, lambda: str(parent.close()))
    experiment, lines = MadeExperiment(tmp_path, "fine"), list[str]()
    workers = Workers(1, lambda slot: worker, lines.append)
    run_experiment(experiment, "cifarlab made", workers, time.monotonic() + 0.8)
    assert not experiment.results
    assert len(lines) == 1 and lines[0].startswith("1 of 1 workers have not started yet")


def test_a_worker_without_its_driver_ends(tmp_path: Path) -> None:
    experiment = MadeExperiment(tmp_path, "slow")
    worker = local_workers(1, lambda line: None, train_made_job).start(0)
    assert worker.messages.recv() == WORKER_READY
    worker.send(experiment.next_job())
    worker.messages.recv()
    assert worker.close() == "exit code 0"


def return_threads(job: Job, driver: Driver) -> JobResult:
    """Return how many threads a run would use as its stop reason."""
    from cifarlab.system.threads import use_threads

    return JobResult(str(use_threads(None).number))


def test_simultaneous_runs_divide_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")  # a spawned worker sees no pretended machine
    experiment = MadeExperiment(tmp_path, "one", "two")
    run_experiment(experiment, "cifarlab made", local_workers(2, lambda line: None, return_threads))
    assert [result.stop_reason for result in experiment.results.values()] == ["2", "2"]


def test_a_worker_gives_a_gpu_s_memory_back_after_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("released"))
    monkeypatch.setattr("cifarlab.system.threads.limit_threads", lambda number: None)
    parent, child = Pipe()
    for message in [*MadeExperiment(tmp_path, "fails", "fails").jobs, LEAVE]:
        parent.send(message)
    work(child, 1, {}, train_made_job)
    messages = [parent.recv() for _ in range(3)]
    assert messages == [WORKER_READY, *[JobResult(failure=FAILURE)] * 2] and len(calls) == 2


@pytest.mark.parametrize("can_mask", [True, False])
def test_a_worker_never_runs_the_user_s_script(
    monkeypatch: pytest.MonkeyPatch, can_mask: bool
) -> None:
    """Windows can't mask signals."""
    if not can_mask:
        monkeypatch.delattr(signal, "pthread_sigmask")
    main = sys.modules["__main__"]
    with _shielded_spawn():
        assert not hasattr(sys.modules["__main__"], "__file__")
    assert sys.modules["__main__"] is main


def test_in_this_process_a_second_signal_acts_as_before(
    tmp_path: Path,
) -> None:
    """The first reaches the run and the experiment, which each listen."""
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda signum, frame: caught.append(signum))

    def train(job: Job, driver: Driver) -> JobResult:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signum == signal.SIGINT and driver.poll() and not caught
            os.kill(os.getpid(), signal.SIGINT)
            assert caught == [signal.SIGINT]
        return JobResult("planned")

    try:
        with pytest.raises(Interrupted):
            run_experiment(MadeExperiment(tmp_path, "one", "two"), "made", ThisProcess(train))
    finally:
        signal.signal(signal.SIGINT, before)
