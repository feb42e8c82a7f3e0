"""The engine of studies, searches and finalists: it hands runs to workers and hears of each epoch.

A worker trains one run after another, in this process, in another process of this machine or on a
Ray cluster (``cluster.py``), always by ``train_job``. After each epoch it sends the metrics line
and waits for leave to go on. The driver alone decides, and writes down what it decides before it
answers; so whoever is killed, the record and the run folders are enough to go on.
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
    READY,
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
_POLL = 0.2  # seconds between two looks whether to end
_DEATHS = 4  # of its worker, after which a run has failed
# a terminal sends them to all its processes, of which only the driver is to hear
_TERMINAL_SIGNALS = {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}


class Experiment(Protocol):
    """What hands out runs and learns of them, in the driver."""

    @property
    def progress(self) -> str:
        """Return it, as in "3 of 9 trials"."""

    def next_job(self) -> Job | None:
        """Return the next run to be trained; None where there is none."""

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        """Learn of an epoch, perhaps again; return whether the run goes on."""

    def on_end(self, job: Job, result: JobResult) -> None:
        """Learn of a run's end."""


class Worker(NamedTuple):
    """A worker as its driver sees it: ``messages`` end where it dies; ``close`` says how."""

    slot: int
    messages: Connection
    send: Callable[[Any], Any]
    close: Callable[[], str]


class Workers(NamedTuple):
    """How many workers there are at a time, and what starts one in a slot."""

    number: int
    start: Callable[[int], Worker]


def local_workers(jobs: int, log: Log, train: TrainJob = train_job) -> Workers:
    """Return processes of this machine, which share its free cores."""
    available = available_threads()
    if available.note:
        log(available.note)
    threads = max(1, available.number // jobs)
    context = get_context("spawn")  # a forked child can't use a GPU, and inherits locks

    def start(slot: int) -> Worker:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work_undisturbed, args=(theirs, slot, threads, train))
        with _spawning():
            process.start()
        theirs.close()

        def close() -> str:
            ours.close()
            process.join()
            return f"exit code {process.exitcode}"

        return Worker(slot, ours, ours.send, close)

    return Workers(jobs, start)


@contextmanager
def _spawning() -> Iterator[None]:
    """Start processes that no terminal's signal reaches, and that do not run the user's script."""
    main = sys.modules["__main__"]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
    resource_tracker.ensure_running()  # it lets SIGINT through again when it starts
    sys.modules["__main__"] = ModuleType("__main__")
    signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work_undisturbed(*options: Any) -> None:
    """Do ``work`` in a process that was started with the terminal's signals blocked."""
    for signum in _TERMINAL_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERMINAL_SIGNALS)
    work(*options)


def run_experiment(
    experiment: Experiment,
    command: str,
    workers: Workers | None = None,
    max_time: WallTime | None = None,
) -> None:
    """Train all runs of ``experiment``: in ``workers``, else one after another in this process.

    After ``max_time``, or a signal, the runs at hand are left at their last checkpoints. Raises
    Interrupted with the command that goes on, StorageError.
    """
    end = time.monotonic() + max_time.seconds if max_time else float("inf")
    with stop_on_signal() as stop:
        if workers is None:
            signum = _run_here(experiment, stop, end)
        else:
            pool = _Pool(experiment, workers)
            pool.run(lambda: bool(stop.signum) or time.monotonic() >= end)
            signum = stop.signum
    if signum:
        raise Interrupted(
            f"interrupted after {experiment.progress}; the checkpoints are written",
            f"go on with: {resume_command(command)}",
            signum,
        )


def resume_command(command: str) -> str:
    """Return what to type to go on with a study or search."""
    return command if "--resume" in command.split() else f"{command} --resume"


def unfinished_error(path: Path, command: str) -> RunFolderError:
    """Return the error of a run that was begun, where nobody said that it is to go on."""
    hint = f"go on with: {resume_command(command)}"
    return RunFolderError(f"{path} was begun and is not finished", hint)


class _Here(NamedTuple):
    """The driver as a run in its own process sees it."""

    experiment: Experiment
    job: Job
    stop: StopRequest
    answers: list[bool]

    def send(self, obj: Any) -> None:
        self.answers.append(self.experiment.on_epoch(self.job, obj))

    def recv(self) -> bool:
        return self.answers.pop()

    def poll(self) -> bool:
        return bool(self.stop.signum)


def _run_here(experiment: Experiment, stop: StopRequest, end: float) -> int:
    """Train the runs in this process; return the signal that ended them, or 0."""
    while not stop.signum and time.monotonic() < end and (job := experiment.next_job()):
        try:
            result = train_job(job, _Here(experiment, job, stop, []))
        except Interrupted as error:
            return stop.signum or error.signum
        experiment.on_end(job, result)
    return stop.signum


class _Pool:
    """The workers: idle ones, and busy ones by their connections, each with its job."""

    def __init__(self, experiment: Experiment, workers: Workers) -> None:
        self._experiment, self._start = experiment, workers.start
        self._slots = list(range(workers.number))
        self._idle: list[Worker] = []
        self._busy: dict[Any, tuple[Worker, Job]] = {}
        self._orphans: list[Job] = []  # their workers died
        self._unready: set[Any] = set()  # those of workers that have not said a word yet
        self._deaths: Counter[str] = Counter()
        self._leaving = False
        self._fatal: StorageError | None = None

    def run(self, is_over: Callable[[], bool]) -> None:
        """Train all that there is. Raises StorageError."""
        try:
            while True:
                if not self._leaving and (self._fatal or is_over()):
                    self._leave()
                self._hand_out()
                if not self._busy:
                    break
                for messages in wait(list(self._busy), _POLL):
                    self._hear(messages)
        finally:
            workers = [*self._idle, *(worker for worker, _ in self._busy.values())]
            for worker in workers:  # all hear of it before one is waited for
                worker.messages.close()
            for worker in workers:
                worker.close()
        if self._fatal:
            raise self._fatal

    def _leave(self) -> None:
        """Ask for the runs at hand to be left; do not wait for workers that may never start."""
        self._leaving = True
        for messages in list(self._unready):
            self._take_back(messages)
        for worker, _ in self._busy.values():
            self._send(worker, LEAVE)

    def _take_back(self, messages: Any) -> Job:
        """Return the job of a worker that is not ready, and end that."""
        self._unready.discard(messages)
        worker, job = self._busy.pop(messages)
        worker.close()
        self._slots.append(worker.slot)
        return job

    def _hand_out(self) -> None:
        """Give jobs to idle workers, and start workers as far as there are slots."""
        while not self._leaving and (self._idle or self._slots):
            job = self._orphans.pop(0) if self._orphans else self._experiment.next_job()
            if job is None and self._idle and self._unready:
                job = self._take_back(next(iter(self._unready)))  # a cluster may have no room
            if job is None:
                return
            if not self._idle:
                self._idle.append(self._start(self._slots.pop(0)))
                self._unready.add(self._idle[-1].messages)
            worker = self._idle.pop()
            self._busy[worker.messages] = worker, job
            self._send(worker, job)

    def _hear(self, messages: Any) -> None:
        """Take what a worker says: an epoch, its run's end, an error; or nothing more."""
        worker, job = self._busy[messages]
        try:
            message = messages.recv()
        except (EOFError, OSError):
            message = worker.close()
        self._unready.discard(messages)
        if message == READY:
            return
        if isinstance(message, dict):
            if not self._leaving:
                self._send(worker, self._experiment.on_epoch(job, message))
            return
        del self._busy[messages]
        if isinstance(message, str):  # it has died, and how
            self._slots.append(worker.slot)
        else:
            self._idle.append(worker)
        if isinstance(message, JobResult):
            self._experiment.on_end(job, message)
        elif isinstance(message, StorageError):
            self._fatal = message
        elif not self._leaving:
            self._bury(job, str(message))

    def _send(self, worker: Worker, message: Any) -> None:
        with suppress(OSError):  # it has died: its connection will say so
            worker.send(message)

    def _bury(self, job: Job, how: str) -> None:
        """Have another worker go on with a run whose own died, unless that is hopeless."""
        self._deaths[job.path] += 1
        if self._deaths[job.path] < _DEATHS:
            self._orphans.append(job)
            return
        what = f"the process that trained it died {_DEATHS} times: {how}"
        hint = "if memory ran out: fewer --jobs, or a smaller batch or network"
        self._experiment.on_end(job, JobResult(failure=Failure("WorkerDied", what, hint)))
