"""The engine of studies, searches and finalists: it gives runs to workers and answers each epoch.

A worker trains one run after another, in this process, in another process of this machine or on a
Ray cluster (``cluster.py``), always by ``train_job``. After each epoch it sends the metrics line
and waits for the answer. Only the driver decides, and it writes each decision down before it
answers; so whichever process is killed, the record and the run folders are enough to resume.
"""

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from cifarlab.config.duration import WallTime
from cifarlab.experiments.worker import (
    LEAVE,
    WORKER_READY,
    Failure,
    Job,
    JobResult,
    TrainJob,
    train_job,
    work,
)
from cifarlab.system.errors import Interrupted, RunFolderError, StorageError
from cifarlab.system.signals import StopRequest, stop_on_signal
from cifarlab.system.threads import available_threads

Log = Callable[[str], None]
_POLL = 0.2  # seconds between two checks whether to end
_MAX_DEATHS = 4  # of workers that trained a run, after which it has failed
# a terminal sends them to all processes; only the driver may handle them
_TERMINAL_SIGNALS = {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}


class Experiment(Protocol):
    """A source of runs that learns of their epochs and ends, in the driver."""

    @property
    def progress(self) -> str:
        """Return how much has been done, as in "3 of 9 trials"."""

    def next_job(self) -> Job | None:
        """Return the next run to train; None where there is none."""

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        """Handle an epoch, which may arrive twice; return whether the run goes on."""

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


def local_workers(jobs: int, log: Log, train: TrainJob = train_job) -> Workers:
    """Return workers that are processes of this machine and divide its free cores.

    Args:
        jobs: number of workers
        log: receives a note where other processes use the machine
        train: trains one job
    """
    available = available_threads()
    if available.note:
        log(available.note)
    threads = max(1, available.number // jobs)
    context = get_context("spawn")  # a forked child can't use a GPU, and inherits locks

    def start(slot: int) -> Worker:
        connection, child = context.Pipe()
        process = context.Process(target=_work_without_signals, args=(child, slot, threads, train))
        with _shielded_spawn():
            process.start()
        child.close()

        def close() -> str:
            connection.close()
            process.join()
            return f"exit code {process.exitcode}"

        return Worker(slot, connection, connection.send, close)

    return Workers(jobs, start)


@contextmanager
def _shielded_spawn() -> Iterator[None]:
    """Keep the terminal's signals and the user's script away from processes started meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where processes mask no signals
        yield
        return
    main = sys.modules["__main__"]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
    resource_tracker.ensure_running()  # its start unblocks SIGINT
    sys.modules["__main__"] = ModuleType("__main__")
    signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work_without_signals(*options: Any) -> None:
    """Call ``work`` in a process that was started with the terminal's signals blocked."""
    for signum in _TERMINAL_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERMINAL_SIGNALS)
    work(*options)


def run_experiment(
    experiment: Experiment,
    command: str,
    workers: Workers | None = None,
    max_time: WallTime | None = None,
) -> None:
    """Train all runs of an experiment.

    Args:
        experiment: gives the runs and learns of their ends
        command: the command that the user typed; it goes on with ``--resume``
        workers: train in these; None to train one run after another in this process
        max_time: time after which the current runs are left at their last checkpoints

    Raises:
        Interrupted: a signal arrived; the current runs are left at their last checkpoints
        StorageError: the disk can't be written to
    """
    end = time.monotonic() + max_time.seconds if max_time else float("inf")
    with stop_on_signal() as stop:

        def is_over() -> bool:
            return bool(stop.signum) or time.monotonic() >= end

        if workers is None:
            _run_in_process(experiment, stop, is_over)
        else:
            _Pool(experiment, workers).run(is_over)
    if stop.signum:
        raise Interrupted(
            f"interrupted after {experiment.progress}; the checkpoints are written",
            f"go on with: {resume_command(command)}",
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
    """The driver as a run in its own process sees it."""

    experiment: Experiment
    job: Job
    is_over: Callable[[], bool]
    answers: list[bool]

    def send(self, obj: Any) -> None:
        self.answers.append(self.experiment.on_epoch(self.job, obj))

    def recv(self) -> bool:
        return self.answers.pop()

    def poll(self) -> bool:
        return self.is_over()


def _run_in_process(experiment: Experiment, stop: StopRequest, is_over: Callable[[], bool]) -> None:
    """Train the runs in this process; ``stop`` also learns of a signal that a run has met."""
    while not is_over() and (job := experiment.next_job()):
        try:
            result = train_job(job, _InProcessDriver(experiment, job, is_over, []))
        except Interrupted as error:
            stop.ask("signal", error.signum)
            return
        experiment.on_end(job, result)


class _Pool:
    """The workers: the idle ones, and by connection those with a job."""

    def __init__(self, experiment: Experiment, workers: Workers) -> None:
        self._experiment, self._start = experiment, workers.start
        self._slots = list(range(workers.number))
        self._idle_workers: list[Worker] = []
        self._assignments: dict[Any, tuple[Worker, Job]] = {}
        self._orphaned_jobs: list[Job] = []  # their workers died
        self._starting: set[Any] = set()  # connections of workers that have not sent WORKER_READY
        self._deaths: Counter[str] = Counter()
        self._is_leaving = False
        self._fatal_error: StorageError | None = None

    def run(self, is_over: Callable[[], bool]) -> None:
        """Train all runs.

        Raises:
            StorageError: a worker or the driver can't write to the disk
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
            workers = [*self._idle_workers, *(worker for worker, _ in self._assignments.values())]
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
        while not self._is_leaving and (self._idle_workers or self._slots):
            job = self._orphaned_jobs.pop(0) if self._orphaned_jobs else self._experiment.next_job()
            if job is None and self._idle_workers and self._starting:
                job = self._reclaim_job(next(iter(self._starting)))  # a cluster may have no room
            if job is None:
                return
            if not self._idle_workers:
                self._idle_workers.append(self._start(self._slots.pop(0)))
                self._starting.add(self._idle_workers[-1].messages)
            worker = self._idle_workers.pop()
            self._assignments[worker.messages] = worker, job
            self._send(worker, job)

    def _receive(self, messages: Any) -> None:
        """Handle a worker's message: an epoch, its run's end, an error, or its death."""
        worker, job = self._assignments[messages]
        try:
            message = messages.recv()
        except (EOFError, OSError):
            message = worker.close()
        self._starting.discard(messages)
        if message == WORKER_READY:
            return
        if isinstance(message, dict):
            if not self._is_leaving:
                self._send(worker, self._experiment.on_epoch(job, message))
            return
        del self._assignments[messages]
        if isinstance(message, str):  # it has died: the cause
            self._slots.append(worker.slot)
        else:
            self._idle_workers.append(worker)
        if isinstance(message, JobResult):
            self._experiment.on_end(job, message)
        elif isinstance(message, StorageError):
            self._fatal_error = message
        elif not self._is_leaving:
            self._handle_death(job, str(message))

    def _send(self, worker: Worker, message: Any) -> None:
        with suppress(OSError):  # it has died: its connection ends
            worker.send(message)

    def _handle_death(self, job: Job, cause: str) -> None:
        """Queue the run of a dead worker again, or record it as failed after too many deaths."""
        self._deaths[job.path] += 1
        if self._deaths[job.path] < _MAX_DEATHS:
            self._orphaned_jobs.append(job)
            return
        what = f"the process that trained it died {_MAX_DEATHS} times: {cause}"
        hint = "if memory ran out: fewer --jobs, or a smaller batch or network"
        self._experiment.on_end(job, JobResult(failure=Failure("WorkerDied", what, hint)))
