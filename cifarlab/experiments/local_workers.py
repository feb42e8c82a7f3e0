"""Workers that are processes of this machine."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from types import ModuleType
from typing import Any

from cifarlab.experiments.engine import Log, Worker, Workers
from cifarlab.experiments.worker import TrainJob, train_job, work
from cifarlab.system.threads import available_threads

# a terminal sends them to all processes; only the driver may handle them
_TERMINAL_SIGNALS = {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}


def local_workers(
    jobs: int, log: Log, train: TrainJob = train_job, gpus: Sequence[str] = ()
) -> Workers:
    """Return workers that are processes of this machine and divide its free cores and its GPUs.

    Args:
        jobs: number of workers
        log: receives a note where other processes use the machine
        train: trains one job
        gpus: as CUDA_VISIBLE_DEVICES names them; each worker sees the next one alone
    """
    available = available_threads()
    if available.note:
        log(available.note)
    threads = max(1, available.number // jobs)
    context = get_context("spawn")  # a forked child can't use a GPU, and inherits locks

    def start(slot: int) -> Worker:
        connection, child = context.Pipe()
        gpu = gpus[slot % len(gpus)] if gpus else None
        env_vars = {"CUDA_VISIBLE_DEVICES": gpu, "CIFARLAB_DEVICE": "cuda"} if gpu else {}
        options = child, threads, env_vars, train
        process = context.Process(target=_work_without_signals, args=options)
        with _shielded_spawn():
            process.start()
        child.close()

        def close() -> str:
            connection.close()
            process.join()
            return f"exit code {process.exitcode}"

        return Worker(slot, connection, connection.send, close)

    return Workers(jobs, start, log)


@contextmanager
def _shielded_spawn() -> Iterator[None]:
    """Keep the terminal's signals and the user's script away from processes started meanwhile."""
    main = sys.modules["__main__"]
    can_mask = hasattr(signal, "pthread_sigmask")  # not on Windows
    if can_mask:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
        resource_tracker.ensure_running()  # its start unblocks SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if can_mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work_without_signals(*options: Any) -> None:
    """Call ``work`` in a process that was started with the terminal's signals blocked."""
    for signum in _TERMINAL_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERMINAL_SIGNALS)
    work(*options)
