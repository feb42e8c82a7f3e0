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
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cifarlab.experiments.worker import (
    LEAVE,
    NOT_SHARED,
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
_PATIENCE = 30.0  # seconds after which workers that have not started are mentioned
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

    messages: Connection
    send: Callable[[Any], Any]
    close: Callable[[], str]


class Workers(NamedTuple):
    """The number of workers at a time, and the function that starts one in a slot.

    ``log`` receives what becomes of them.
    """

    number: int
    start: Callable[[int], Worker]
    log: Log = print


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
        experiment.on_end(job, _find_on_disk(job, result))


def _find_on_disk(job: Job, result: JobResult) -> JobResult:
    """Return a run's end, as failed where its result was written to a disk that is not here."""
    if not result.has_result or RunFolder(job.path).is_finished:
        return result
    what = f"{job.path} has no result here: it was written to another disk"
    return JobResult(failure=Failure("RunFolderError", what, NOT_SHARED))


def _find_fruitless_starts(job: Job) -> Failure | None:
    """Return a failure where the last starts of a run led to no epoch: it may kill its process."""
    folder = RunFolder(job.path)
    last_starts = folder.provenance().get("starts", [])[-_MAX_DEATHS:]
    steps = {start.get("step") for start in last_starts}
    if folder.is_finished or len(last_starts) < _MAX_DEATHS or len(steps) > 1:
        return None
    what = f"it was begun {_MAX_DEATHS} times and came to no further epoch"
    return Failure("WorkerDied", what, "try it in a process of its own, with --jobs 1")


@dataclass(eq=False)
class _Slot:
    """A place for a worker, which has a job, is idle, or is started with the next job."""

    number: int
    worker: Worker | None = None
    job: Job | None = None
    is_starting: bool = False  # so that its worker can't have begun the job
    n_faults: int = 0  # in a row
    n_failed_starts: int = 0  # in a row


class _Pool:
    """The workers.

    A failure that may be the worker's does not count until another worker has met one with the
    same run. A slot whose workers fail one run after another, or never start, is closed, unless it
    is the last.
    """

    def __init__(self, experiment: Experiment, workers: Workers) -> None:
        self._experiment, self._start, self._log = experiment, workers.start, workers.log
        self._slots = [_Slot(number) for number in range(workers.number)]
        self._returned_jobs: list[Job] = []  # to be given to another worker
        self._epochs: Counter[str] = Counter()  # that each run has shown
        self._deaths: Counter[str] = Counter()  # of each run's workers since its last epoch
        self._failed_slots: dict[str, _Slot] = {}  # where a run failed that may be tried elsewhere
        self._patience_end = time.monotonic() + _PATIENCE
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
                self._mention_waiting()
                assignments: dict[Any, tuple[_Slot, Worker, Job]] = {
                    slot.worker.messages: (slot, slot.worker, slot.job)
                    for slot in self._slots
                    if slot.worker and slot.job
                }
                if not assignments:
                    break
                for messages in wait(list(assignments), _POLL):
                    self._receive(*assignments[messages])
        finally:
            workers = [slot.worker for slot in self._slots if slot.worker]
            for worker in workers:  # close all connections before waiting for one worker
                worker.messages.close()
            for worker in workers:
                worker.close()
        if self._fatal_error:
            raise self._fatal_error

    def _leave(self) -> None:
        """Ask the workers to leave their runs; don't wait for workers that may never start."""
        self._is_leaving = True
        for slot in self._slots:
            if slot.is_starting:
                self._dismiss(slot)
            elif slot.job:
                self._send(slot, LEAVE)

    def _mention_waiting(self) -> None:
        """Log once, after a while, how many workers have not started yet."""
        if time.monotonic() < self._patience_end:
            return
        self._patience_end = inf
        if n_waiting := sum(slot.is_starting for slot in self._slots):
            words = "have not started yet (of a cluster, 'ray status' says why)"
            self._log(f"{n_waiting} of {len(self._slots)} workers {words}")

    def _assign_jobs(self) -> None:
        """Give jobs to idle workers, and start workers while there are free slots."""
        for slot in () if self._is_leaving else sorted(self._slots, key=lambda s: not s.worker):
            if slot.job or not (job := self._next_job(slot)):
                continue
            if not slot.worker:
                slot.worker, slot.is_starting = self._start(slot.number), True
            slot.job = job
            if not self._send(slot, job):
                slot.is_starting = True

    def _next_job(self, slot: _Slot) -> Job | None:
        """Return a job that another worker had and this slot did not fail at, or a new one.

        An idle worker takes that of a worker which has not started: a cluster may have no room.
        """
        for number, job in enumerate(self._returned_jobs):
            if len(self._slots) == 1 or self._failed_slots.get(job.path) != slot:
                return self._returned_jobs.pop(number)
        new_job, starting = self._experiment.next_job(), [s for s in self._slots if s.is_starting]
        if new_job or not (slot.worker and starting):
            return new_job
        job_of_starting = starting[0].job
        self._dismiss(starting[0])
        return job_of_starting

    def _dismiss(self, slot: _Slot) -> str:
        """Close a slot's worker, if it has one; return how that died."""
        worker, slot.worker, slot.job, slot.is_starting = slot.worker, None, None, False
        return worker.close() if worker else ""

    def _receive(self, slot: _Slot, worker: Worker, job: Job) -> None:
        """Handle a worker's message: an epoch, its run's end, an error, or its death."""
        is_starting, slot.is_starting = slot.is_starting, False
        try:
            message = worker.messages.recv()
        except (EOFError, OSError):
            message = self._dismiss(slot)
        if message == WORKER_READY:
            slot.n_failed_starts = 0
            return
        if isinstance(message, dict):
            self._handle_epoch(slot, job, message)
            return
        slot.job = None
        if isinstance(message, JobResult):
            message = _find_on_disk(job, message)
        if isinstance(message, Failure):  # after which the worker ends
            self._dismiss(slot)
            self._handle_fault(slot, job, message)
        elif isinstance(message, JobResult) and message.failure and not message.failure.is_own:
            self._handle_fault(slot, job, message.failure)
        elif isinstance(message, JobResult):
            slot.n_faults = 0
            self._experiment.on_end(job, message)
        elif isinstance(message, CifarlabError) and not isinstance(message, Interrupted):
            self._fatal_error = message
        elif is_starting:
            self._handle_failed_start(slot, job, str(message))
        elif not self._is_leaving:
            self._handle_death(job, str(message))

    def _send(self, slot: _Slot, message: Any) -> bool:
        """Return whether a worker could be written to; if it has died, its connection ends."""
        with suppress(OSError):
            if slot.worker:
                slot.worker.send(message)
            return True
        return False

    def _handle_epoch(self, slot: _Slot, job: Job, line: dict[str, Any]) -> None:
        """Answer an epoch; a new one shows that the run gets further, however often it moves."""
        if line["epoch"] > self._epochs[job.path]:
            self._epochs[job.path] = line["epoch"]
            self._deaths.pop(job.path, None)
        if not self._is_leaving:
            self._send(slot, self._experiment.on_epoch(job, line))

    def _handle_fault(self, slot: _Slot, job: Job, failure: Failure) -> None:
        """Give a run whose failure may be its worker's to another, or record the failure."""
        if job.path in self._failed_slots or len(self._slots) == 1:
            self._experiment.on_end(job, JobResult(failure=failure))
        else:
            self._failed_slots[job.path] = slot
            self._returned_jobs.append(job)
        slot.n_faults += 1
        if slot.n_faults >= _MAX_FAULTS:
            self._close_slot(slot, failure.what)

    def _handle_failed_start(self, slot: _Slot, job: Job, cause: str) -> None:
        """Give the job of a worker that died before it could begin it to another."""
        self._returned_jobs.insert(0, job)
        slot.n_failed_starts += 1
        if slot.n_failed_starts >= _MAX_DEATHS and not self._close_slot(slot, cause):
            hint = "start 'cifarlab check' where it should train"
            self._fatal_error = UserError(f"no worker starts: {cause}", hint)

    def _close_slot(self, slot: _Slot, reason: str) -> bool:
        """Use a slot no more, unless it is the last; return whether it was not."""
        if len(self._slots) == 1:
            return False
        self._log(f"one of {len(self._slots)} workers gets no more runs: {reason}")
        self._slots.remove(slot)
        self._dismiss(slot)
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
