"""Trains a study's runs, one after another in this process or several at a time in workers.

A run that fails is reported to the caller, and the others go on. Nothing here imports torch before
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
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CifarlabError, Interrupted, StorageError
from cifarlab.system.signals import StopRequest
from cifarlab.training.callback import Callback
from cifarlab.training.callbacks import WatchedConfig

_POLL = 0.2  # seconds between two looks whether the study is asked to stop


class RunJob(NamedTuple):
    """One run to be trained; a run that was begun in ``path`` goes on."""

    row: str
    recipe: Recipe
    path: str
    command: str
    callbacks: WatchedConfig = WatchedConfig()


class Failure(NamedTuple):
    """Why a run has no result: the error's class, what was wrong, what to do."""

    kind: str
    what: str
    hint: str


OnBegin = Callable[[RunJob], None]
OnEnd = Callable[[RunJob, Failure | None], None]
TrainOne = Callable[[RunJob], Failure | None]


class _StopCallback(Callback):
    """Asks the run to end once somebody asks the study to."""

    def __init__(self, stop: StopRequest, stop_requested: Callable[[], bool]) -> None:
        self._stop, self._stop_requested = stop, stop_requested

    def on_step_end(self, run: Any, images: int) -> None:
        """Pass the wish on."""
        if self._stop_requested():
            self._stop.ask("signal", signal.SIGINT)


def train_job(job: RunJob, stop_requested: Callable[[], bool] = lambda: False) -> Failure | None:
    """Train one run to its end; what is wrong with it alone is returned, not raised.

    Raises Interrupted, and StorageError, which the other runs would meet as well.
    """
    from cifarlab.training.train import train

    folder, stop = RunFolder(job.path), StopRequest()
    watching = [_StopCallback(stop, stop_requested), *job.callbacks.build_callbacks()]
    try:
        train(
            job.recipe,
            folder,
            resume=folder.exists,
            callbacks=watching,
            command=job.command,
            stop=stop,
        )
    except (Interrupted, StorageError):
        raise
    except CifarlabError as error:
        return Failure(type(error).__name__, error.what, error.hint)
    return None


def train_all(jobs: Sequence[RunJob], workers: int, on_end: OnEnd, on_begin: OnBegin) -> None:
    """Train all jobs, ``workers`` at a time; ``on_begin`` and ``on_end`` are called for each.

    With one worker, in this process. Raises Interrupted once the runs at hand have written their
    checkpoints, and StorageError.
    """
    from cifarlab.system.signals import stop_on_signal

    with stop_on_signal() as stop:
        if workers > 1:
            train_in_processes(jobs, workers, lambda: stop.signum, on_end)
            return
        for job in jobs:
            if stop.signum:
                raise interruption(stop.signum)
            on_begin(job)
            try:
                failure = train_job(job, lambda: bool(stop.signum))
            except Interrupted as error:
                raise interruption(stop.signum or error.signum) from error
            on_end(job, failure)


def interruption(signum: int) -> Interrupted:
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
    from cifarlab.system.threads import limit_threads

    limit_threads(threads)


def _train_in_worker(job: RunJob) -> Failure | None:
    assert _stopping is not None
    if _stopping.is_set():
        raise interruption(signal.SIGINT)
    return train_job(job, _stopping.is_set)


def train_in_processes(
    jobs: Sequence[RunJob],
    workers: int,
    stop_requested: Callable[[], int],
    on_end: OnEnd,
    train_one: TrainOne = _train_in_worker,
) -> None:
    """Train in ``workers`` processes; ``stop_requested`` gives the signal that asks to stop, or 0.

    A worker that dies takes all of its pool's runs along. These are then trained in one process
    of their own, where it is plain which run it was: that one is recorded as failed.
    """
    remaining = list(jobs)
    while remaining:
        remaining, pool_broke = _train_in_pool(
            remaining, workers, stop_requested, on_end, train_one
        )
        if pool_broke and workers == 1:
            job = remaining.pop(0)
            what = "the process that trained it was ended from outside"
            hint = "most likely memory ran out: fewer --jobs, or a smaller batch or network"
            on_end(job, Failure("WorkerDied", what, hint))
        workers = 1 if pool_broke else workers


def _start_resource_tracker() -> None:
    """Start multiprocessing's own helper so that a closed terminal does not end it.

    It ignores Ctrl-C and SIGTERM by itself; a child inherits which signals are blocked.
    """
    if hasattr(signal, "SIGHUP"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _train_in_pool(
    jobs: Sequence[RunJob],
    workers: int,
    stop_requested: Callable[[], int],
    on_end: OnEnd,
    train_one: TrainOne,
) -> tuple[list[RunJob], bool]:
    """The jobs that are left, in order, and whether the pool broke. Raises as ``train_all``."""
    from cifarlab.system.threads import available_threads

    threads = max(1, available_threads().number // workers)
    context = get_context("spawn")  # a forked child can't use a GPU, and inherits locks
    _start_resource_tracker()
    stopping = context.Event()
    remaining = list(jobs)
    pool_broke = False
    error: BaseException | None = None
    with ProcessPoolExecutor(
        min(workers, len(jobs)), context, initializer=_start_worker, initargs=(threads, stopping)
    ) as pool:
        futures = {pool.submit(train_one, job): job for job in jobs}
        for future in _as_ended(futures, stop_requested, stopping):
            try:
                failure = future.result()
            except CancelledError:
                continue
            except BrokenProcessPool:
                pool_broke = True
                continue
            except BaseException as caught:
                error = error or caught
                stopping.set()
                continue
            remaining.remove(futures[future])
            on_end(futures[future], failure)
    if signum := stop_requested():
        raise interruption(signum)
    if error:
        raise error
    return remaining, pool_broke


def _as_ended(
    futures: dict[Future[Failure | None], RunJob],
    stop_requested: Callable[[], int],
    stopping: Event,
) -> Iterator[Future[Failure | None]]:
    """The futures as they end; once the study is to stop, those that did not begin are dropped."""
    pending = set(futures)
    while pending:
        if stop_requested() or stopping.is_set():
            stopping.set()
            for future in pending:
                future.cancel()
        completed, pending = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
        yield from sorted(completed, key=list(futures).index)
