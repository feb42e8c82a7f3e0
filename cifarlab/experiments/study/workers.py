"""Trains a study's runs, one after another in this process or several at a time in workers.

A run that fails is told to whoever asked, and the others go on. Nothing here imports torch before
the first run.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, resource_tracker
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple

from cifarlab.recipes.schema import Recipe
from cifarlab.runs.folder import RunFolder
from cifarlab.system.errors import CifarlabError, Interrupted, StorageError

_POLL = 0.2  # seconds between two looks whether the study is asked to stop


class Job(NamedTuple):
    """One run to be trained; a run that was begun in ``path`` goes on."""

    row: str
    recipe: Recipe
    path: str
    command: str


class Failure(NamedTuple):
    """Why a run has no result: the error's class, what was wrong, what to do."""

    kind: str
    what: str
    hint: str


Begin = Callable[[Job], None]
Done = Callable[[Job, Failure | None], None]
Work = Callable[[Job], Failure | None]


class _StopCallback:
    """Ends the run at its next step once somebody asks the study to stop."""

    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked

    def on_train_start(self, run: Any) -> None:
        """Nothing: a run that has started takes a step at least."""

    def on_step_end(self, run: Any, images: int) -> None:
        """Pass the wish on as the signal that training listens to."""
        if self._asked():
            signal.raise_signal(signal.SIGINT)

    def on_validation_end(self, run: Any) -> None:
        """Nothing."""

    def on_epoch_end(self, run: Any, line: dict[str, Any]) -> None:
        """Nothing."""

    def on_train_end(self, run: Any, result: dict[str, Any]) -> None:
        """Nothing."""


def trained(job: Job, asked: Callable[[], bool] = lambda: False) -> Failure | None:
    """Train one run to its end; what is wrong with it alone is returned, not raised.

    Raises Interrupted, and StorageError, which the other runs would meet as well.
    """
    from cifarlab.training.train import train

    folder = RunFolder(job.path)
    callbacks = [_StopCallback(asked)]
    try:
        train(job.recipe, folder, resume=folder.exists, callbacks=callbacks, command=job.command)
    except (Interrupted, StorageError):
        raise
    except CifarlabError as error:
        return Failure(type(error).__name__, error.what, error.hint)
    return None


def train_all(jobs: Sequence[Job], workers: int, done: Done, begin: Begin) -> None:
    """Train all jobs, ``workers`` at a time; ``begin`` and ``done`` are told of each.

    With one worker, in this process. Raises Interrupted once the runs at hand have written their
    checkpoints, and StorageError.
    """
    from cifarlab.system.signals import stop_on_signal

    with stop_on_signal() as stop:
        if workers > 1:
            in_processes(jobs, workers, lambda: stop.signum, done)
            return
        for job in jobs:
            if stop.signum:
                raise interrupted(stop.signum)
            begin(job)
            try:
                failure = trained(job, lambda: bool(stop.signum))
            except Interrupted as error:
                raise interrupted(stop.signum or error.signum) from error
            done(job, failure)


def interrupted(signum: int) -> Interrupted:
    """The study's end by a signal; who started it knows the command that goes on."""
    return Interrupted("interrupted between two runs", "go on with --resume", signum)


_stopping: Event | None = None  # a worker's: set by the parent


def _start_worker(threads: int, stopping: Event) -> None:
    """Share the cores out, and leave what a terminal sends to all (Ctrl-C) to the parent."""
    global _stopping
    _stopping = stopping
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    from cifarlab.system.threads import share_threads

    share_threads(threads)


def _work(job: Job) -> Failure | None:
    assert _stopping is not None
    if _stopping.is_set():
        raise interrupted(signal.SIGINT)
    return trained(job, _stopping.is_set)


def in_processes(
    jobs: Sequence[Job], workers: int, asked: Callable[[], int], done: Done, work: Work = _work
) -> None:
    """Train in ``workers`` processes; ``asked`` gives the signal that asks to stop, else 0.

    A worker that dies takes all of its pool's runs along. These are then trained in one process
    of their own, where it is plain which run it was: that one is recorded as failed.
    """
    left = list(jobs)
    while left:
        left, broke = _in_a_pool(left, workers, asked, done, work)
        if broke and workers == 1:
            job = left.pop(0)
            what = "the process that trained it was ended from outside"
            hint = "most likely memory ran out: fewer --jobs, or a smaller batch or network"
            done(job, Failure("WorkerDied", what, hint))
        workers = 1 if broke else workers


def _start_resource_tracker() -> None:
    """Start multiprocessing's own helper so that a closed terminal does not end it.

    It ignores Ctrl-C and SIGTERM by itself; a child inherits which signals are blocked.
    """
    if hasattr(signal, "SIGHUP"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_a_pool(
    jobs: Sequence[Job], workers: int, asked: Callable[[], int], done: Done, work: Work
) -> tuple[list[Job], bool]:
    """The jobs that are left, in order, and whether the pool broke. Raises as ``train_all``."""
    from cifarlab.system.threads import available_threads

    threads = max(1, available_threads().number // workers)
    context = get_context("spawn")  # a forked child can't use a GPU, and inherits locks
    _start_resource_tracker()
    stopping = context.Event()
    left = list(jobs)
    broke = False
    error: BaseException | None = None
    with ProcessPoolExecutor(
        min(workers, len(jobs)), context, initializer=_start_worker, initargs=(threads, stopping)
    ) as pool:
        futures = {pool.submit(work, job): job for job in jobs}
        for future in _ended(futures, asked, stopping):
            try:
                failure = future.result()
            except CancelledError:
                continue
            except BrokenProcessPool:
                broke = True
                continue
            except BaseException as caught:
                error = error or caught
                stopping.set()
                continue
            left.remove(futures[future])
            done(futures[future], failure)
    if signum := asked():
        raise interrupted(signum)
    if error:
        raise error
    return left, broke


def _ended(
    futures: dict[Future[Failure | None], Job], asked: Callable[[], int], stopping: Event
) -> Iterator[Future[Failure | None]]:
    """The futures as they end; once the study is to stop, those that did not begin are dropped."""
    pending = set(futures)
    while pending:
        if asked() or stopping.is_set():
            stopping.set()
            for future in pending:
                future.cancel()
        ended, pending = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
        yield from sorted(ended, key=list(futures).index)
