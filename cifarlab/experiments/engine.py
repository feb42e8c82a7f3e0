"""The engine of all experiments: it gives runs to workers and answers each epoch.

A worker trains one run after another, in this process, in another process of this machine or on a
Ray cluster (``cluster.py``), always by ``train_job``; ``placement.py`` chooses. After each epoch it
sends the metrics line and waits for the answer. Only the driver decides, and it writes each
decision down before it answers; so whichever process is killed, the record and the run folders are
enough to resume.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from math import inf
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cifarlab.experiments.worker import (
    LEAVE,
    WORKER_READY,
    Failure,
    Job,
    JobResult,
    TrainJob,
    describe_failure,
    train_job,
)
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CifarlabError, Interrupted, RunFolderError, UserError
from cifarlab.system.signals import StopRequest, stop_on_signal

Log = Callable[[str], None]
_POLL = 0.2  # seconds between two checks whether to end
_MAX_DEATHS = 4  # of workers that trained a run, without a new epoch, after which it has failed
_MAX_FAULTS = 2  # of a worker, in a row, after which it gets no more runs


class Experiment(Protocol):
    """A source of runs that learns of their epochs and ends, in the driver."""

    @property
    def progress(self) -> str:
        """Return how much has been done, as in "3 of 9 trials"."""

    def next_job(self) -> Job | None:
        """Return the next run to train; None where there is none."""

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        """Handle an epoch, which may arrive twice; return whether the run goes on: here always."""
        return True

    def on_end(self, job: Job, result: JobResult) -> None:
        """Handle the end of a run."""


class Worker(NamedTuple):
    """A worker as its driver sees it.

    ``messages`` ends where the worker dies; ``close`` returns how it died.
    """

    slot: int
    messages: Connection
    send: Callable[[Any], Any]
    close: Callable[[], str]


class Workers(NamedTuple):
    """The number of workers at a time, and the function that starts one in a slot."""

    number: int
    start: Callable[[int], Worker]


class ThisProcess(NamedTuple):
    """No workers: the driver's process trains one run after another."""

    train: TrainJob = train_job


def run_experiment(
    experiment: Experiment,
    resume: str,
    workers: Workers | ThisProcess,
    end: float = inf,
) -> None:
    """Train all runs of an experiment.

    Args:
        experiment: gives the runs and learns of their ends
        resume: the command that goes on with the experiment
        workers: train in these
        end: when (``time.monotonic``) the current runs are left at their last checkpoints

    Raises:
        Interrupted: a signal arrived; the current runs are left at their last checkpoints
        StorageError: the disk can't be written to
        RunFolderError: another process keeps a run
        UserError: no worker starts
    """
    with stop_on_signal() as stop:

        def is_over() -> bool:
            return bool(stop.signum) or time.monotonic() >= end

        if isinstance(workers, ThisProcess):
            _run_in_process(experiment, workers.train, stop, is_over)
        else:
            _Pool(experiment, workers).run(is_over)
    if stop.signum:
        raise Interrupted(
            f"interrupted after {experiment.progress}; the checkpoints are written",
            f"go on with: {resume}",
            stop.signum,
        )


def resume_command(command: str) -> str:
    """Return what resumes a study, a search or a race: a command, or a call in Python."""
    if command.startswith("cifarlab."):
        return f"{command}(..., resume=True)"
    return command if "--resume" in command.split() else f"{command} --resume"


def unfinished_error(path: Path, command: str) -> RunFolderError:
    """Return the error for an unfinished run where ``--resume`` was not given."""
    hint = f"go on with: {resume_command(command)}"
    return RunFolderError(f"{path} was begun and is not finished", hint)


class _InProcessDriver(NamedTuple):
    """The driver as a run in its own process sees it; ``errors`` are its own, not the run's."""

    experiment: Experiment
    job: Job
    is_over: Callable[[], bool]
    answers: list[bool]
    errors: list[Exception]

    def send(self, obj: Any) -> None:
        try:
            self.answers.append(self.experiment.on_epoch(self.job, obj))
        except Exception as error:
            self.errors.append(error)
            raise

    def recv(self) -> bool:
        return self.answers.pop()

    def poll(self) -> bool:
        return self.is_over()


def _run_in_process(
    experiment: Experiment, train: TrainJob, stop: StopRequest, is_over: Callable[[], bool]
) -> None:
    """Train the runs in this process; ``stop`` also learns of a signal that a run has met."""
    while not is_over() and (job := experiment.next_job()):
        if failure := _find_fruitless_starts(job):
            experiment.on_end(job, JobResult(failure=failure))
            continue
        driver = _InProcessDriver(experiment, job, is_over, [], [])
        try:
            result = train(job, driver)
        except Interrupted as error:
            stop.ask("signal", error.signum)
            return
        except CifarlabError:
            raise
        except Exception as error:
            from cifarlab.system.device import fastest_device

            if fastest_device().type != "cpu":  # it may have spoilt the GPU for this process
                raise
            result = JobResult(failure=describe_failure(error))
        if driver.errors:
            raise driver.errors[0]
        experiment.on_end(job, result)


def _find_fruitless_starts(job: Job) -> Failure | None:
    """Return a failure where the last starts of a run led to no epoch: it may kill its process."""
    folder = RunFolder(job.path)
    last_starts = folder.provenance().get("starts", [])[-_MAX_DEATHS:]
    steps = {start.get("step") for start in last_starts}
    if folder.is_finished or len(last_starts) < _MAX_DEATHS or len(steps) > 1:
        return None
    what = f"it was begun {_MAX_DEATHS} times and came to no further epoch"
    return Failure("WorkerDied", what, "try it in a process of its own, with --jobs 1")


class _Pool:
    """The workers: the idle ones by slot, and by connection those with a job.

    A failure that may be the worker's does not count until another worker has met one with the
    same run. A slot whose workers fail one run after another, or never start, is closed, unless it
    is the last.
    """

    def __init__(self, experiment: Experiment, workers: Workers) -> None:
        self._experiment, self._start = experiment, workers.start
        self._slots = list(range(workers.number))
        self._n_open = workers.number
        self._idle_workers: dict[int, Worker] = {}
        self._assignments: dict[Any, tuple[Worker, Job]] = {}
        self._returned_jobs: list[Job] = []  # to be given to another worker
        self._starting: set[Any] = set()  # connections of workers that can't have begun their job
        self._epochs: Counter[str] = Counter()  # that each run has shown
        self._deaths: Counter[str] = Counter()  # of each run's workers since its last epoch
        self._failed_slots: dict[str, int] = {}  # where a run failed that may be tried elsewhere
        self._faults: Counter[int] = Counter()  # of each slot, in a row
        self._failed_starts: Counter[int] = Counter()
        self._is_leaving = False
        self._fatal_error: CifarlabError | None = None

    def run(self, is_over: Callable[[], bool]) -> None:
        """Train all runs.

        Raises:
            CifarlabError: what ``run_experiment`` raises, Interrupted apart
        """
        try:
            while True:
                if not self._is_leaving and (self._fatal_error or is_over()):
                    self._leave()
                self._assign_jobs()
                if not self._assignments:
                    break
                for messages in wait(list(self._assignments), _POLL):
                    self._receive(messages)
        finally:
            working = (worker for worker, _ in self._assignments.values())
            workers = [*self._idle_workers.values(), *working]
            for worker in workers:  # close all connections before waiting for one worker
                worker.messages.close()
            for worker in workers:
                worker.close()
        if self._fatal_error:
            raise self._fatal_error

    def _leave(self) -> None:
        """Ask the workers to leave their runs; don't wait for workers that may never start."""
        self._is_leaving = True
        for messages in list(self._starting):
            self._reclaim_job(messages)
        for worker, _ in self._assignments.values():
            self._send(worker, LEAVE)

    def _reclaim_job(self, messages: Any) -> Job:
        """Close a worker that has not started yet and return its job."""
        self._starting.discard(messages)
        worker, job = self._assignments.pop(messages)
        worker.close()
        self._slots.append(worker.slot)
        return job

    def _assign_jobs(self) -> None:
        """Give jobs to idle workers, and start workers while there are free slots."""
        for slot in () if self._is_leaving else (*self._idle_workers, *self._slots):
            job = self._next_job(slot)
            if job is None and slot in self._idle_workers and self._starting:
                job = self._reclaim_job(next(iter(self._starting)))  # a cluster may have no room
            if job is None:
                continue
            worker = self._idle_workers.pop(slot, None)
            if worker is None:
                self._slots.remove(slot)
                worker = self._start(slot)
                self._starting.add(worker.messages)
            self._assignments[worker.messages] = worker, job
            if not self._send(worker, job):
                self._starting.add(worker.messages)

    def _next_job(self, slot: int) -> Job | None:
        """Return a job that another worker had and this slot did not fail at, or a new one."""
        for number, job in enumerate(self._returned_jobs):
            if self._n_open == 1 or self._failed_slots.get(job.path) != slot:
                return self._returned_jobs.pop(number)
        return self._experiment.next_job()

    def _receive(self, messages: Any) -> None:
        """Handle a worker's message: an epoch, its run's end, an error, or its death."""
        worker, job = self._assignments[messages]
        try:
            message = messages.recv()
        except (EOFError, OSError):
            message = worker.close()
        is_starting = messages in self._starting
        self._starting.discard(messages)
        if message == WORKER_READY:
            self._failed_starts.pop(worker.slot, None)
            return
        if isinstance(message, dict):
            self._handle_epoch(worker, job, message)
            return
        del self._assignments[messages]
        if isinstance(message, Failure):  # after which it ends
            worker.close()
        if isinstance(message, str | Failure):
            self._slots.append(worker.slot)
        else:
            self._idle_workers[worker.slot] = worker
        if isinstance(message, Failure):
            self._handle_fault(worker.slot, job, message)
        elif isinstance(message, JobResult) and message.failure and not message.failure.is_own:
            self._handle_fault(worker.slot, job, message.failure)
        elif isinstance(message, JobResult):
            self._faults.pop(worker.slot, None)
            self._experiment.on_end(job, message)
        elif isinstance(message, CifarlabError) and not isinstance(message, Interrupted):
            self._fatal_error = message
        elif is_starting:
            self._handle_failed_start(worker.slot, job, str(message))
        elif not self._is_leaving:
            self._handle_death(job, str(message))

    def _send(self, worker: Worker, message: Any) -> bool:
        """Return whether a worker could be written to; if it has died, its connection ends."""
        with suppress(OSError):
            worker.send(message)
            return True
        return False

    def _handle_epoch(self, worker: Worker, job: Job, line: dict[str, Any]) -> None:
        """Answer an epoch; a new one shows that the run gets further, however often it moves."""
        if line["epoch"] > self._epochs[job.path]:
            self._epochs[job.path] = line["epoch"]
            self._deaths.pop(job.path, None)
        if not self._is_leaving:
            self._send(worker, self._experiment.on_epoch(job, line))

    def _handle_fault(self, slot: int, job: Job, failure: Failure) -> None:
        """Give a run whose failure may be its worker's to another, or record the failure."""
        if job.path in self._failed_slots or self._n_open == 1:
            self._experiment.on_end(job, JobResult(failure=failure))
        else:
            self._failed_slots[job.path] = slot
            self._returned_jobs.append(job)
        self._faults[slot] += 1
        if self._faults[slot] >= _MAX_FAULTS:
            self._close_slot(slot)

    def _handle_failed_start(self, slot: int, job: Job, cause: str) -> None:
        """Give the job of a worker that died before it could begin it to another."""
        self._returned_jobs.insert(0, job)
        self._failed_starts[slot] += 1
        if self._failed_starts[slot] >= _MAX_DEATHS and not self._close_slot(slot):
            hint = "start 'cifarlab check' where it should train"
            self._fatal_error = UserError(f"no worker starts: {cause}", hint)

    def _close_slot(self, slot: int) -> bool:
        """Use a slot no more, unless it is the last; return whether it was not."""
        if self._n_open == 1:
            return False
        self._n_open -= 1
        if worker := self._idle_workers.pop(slot, None):
            worker.close()
        else:
            self._slots.remove(slot)
        return True

    def _handle_death(self, job: Job, cause: str) -> None:
        """Queue the run of a dead worker again, or record it as failed after too many deaths."""
        self._deaths[job.path] += 1
        if self._deaths[job.path] < _MAX_DEATHS:
            self._returned_jobs.append(job)
            return
        what = f"the process that trained it died {_MAX_DEATHS} times: {cause}"
        hint = "if memory ran out: fewer --jobs, or a smaller batch or network"
        self._experiment.on_end(job, JobResult(failure=Failure("WorkerDied", what, hint)))
