"""The worker's side of the engine: train one run after another, and wait after each epoch.

It is the same in the driver's process, in another process of this machine and on a cluster.
"""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CifarlabError, Interrupted, RunFolderError, StorageError
from cifarlab.system.files import is_folder, lock_folder
from cifarlab.system.signals import AT_ONCE, StopRequest
from cifarlab.training.callback import Callback
from cifarlab.training.callbacks import CallbacksConfig

LEAVE = "leave"  # sent by a driver at any time: leave the run at its checkpoint
WORKER_READY = "ready"  # the first message of a worker
NOT_SHARED = "a cluster needs one folder for all its machines"
_HANDOVER = 120.0  # seconds that a killed worker may take to release its run folder


class Job(NamedTuple):
    """A run to train or to resume; ``name`` is its row's or trial's."""

    name: str
    recipe: Recipe
    path: str
    command: str
    callback_config: CallbacksConfig = CallbacksConfig()


class Failure(NamedTuple):
    """A reason why a run has no result: the error's class, what was wrong, what to do."""

    kind: str
    what: str
    hint: str


class JobResult(NamedTuple):
    """The end of a run: why training stopped, or how it failed."""

    stop_reason: str = "failed"
    failure: Failure | None = None


class Driver(Protocol):
    """The driver as a worker sees it: a connection, or an object with the same methods."""

    def send(self, obj: Any) -> None:
        """Send a metrics line."""

    def recv(self) -> Any:
        """Wait for the answer: whether the run goes on, or LEAVE."""

    def poll(self) -> bool:
        """Return whether LEAVE has arrived without being waited for."""


TrainJob = Callable[[Job, Driver], JobResult]


class _Reporter(Callback):
    """A callback that sends each epoch to the driver and ends the run where the driver says so."""

    def __init__(self, driver: Driver, stop: StopRequest) -> None:
        self._driver, self._stop = driver, stop

    def replay(self, folder: RunFolder) -> None:
        """Send the epochs that the run has already.

        Raises:
            Interrupted: the driver asks to leave the run
        """
        for line in folder.metrics.read():
            self.on_epoch_end(None, line)
            self.leave_if_requested()

    def leave_if_requested(self) -> None:
        """Leave the run where the driver asks for it; it sends no answers any more.

        Raises:
            Interrupted: the driver asks to leave the run
        """
        self.on_step_end(None, 0)
        if self._stop.reason in AT_ONCE:
            raise Interrupted("left before it went on", "go on with --resume", self._stop.signum)

    def on_train_start(self, run: Any) -> None:
        """Replay the earlier epochs: the driver may end the run at one that it has not seen."""
        self.leave_if_requested()
        self.replay(run.folder)

    def on_step_end(self, run: Any, images: int) -> None:
        """Ask the run to stop where the driver wants to leave it."""
        if self._driver.poll():
            self._stop.ask("abandoned")

    def on_epoch_end(self, run: Any, line: dict[str, Any]) -> None:
        """Send the line and wait for the answer."""
        self._driver.send(line)
        answer = self._driver.recv()
        if answer == LEAVE:
            self._stop.ask("abandoned")
        elif not answer:
            self._stop.ask("stopped")


def train_job(
    job: Job, driver: Driver, callbacks: Sequence[Callback] = (), **options: Any
) -> JobResult:
    """Train a run to its end; of a run that has ended, send the epochs and the result again.

    Args:
        job: the run
        driver: receives each epoch and answers whether the run goes on
        callbacks: see the run, beside the job's own
        **options: as ``train`` takes them

    Raises:
        Interrupted: the driver asked to leave the run
        StorageError: the disk can't be written to, which other runs would meet as well
    """
    folder, stop = RunFolder(job.path), StopRequest()
    reporter = _Reporter(driver, stop)
    try:
        _require_shared(folder)
        _wait_for_folder(folder)
        reporter.leave_if_requested()
        if folder.is_finished:  # the driver was killed before it received the result
            reporter.replay(folder)
            return JobResult(str((folder.result() or {}).get("stop_reason")))
        from cifarlab.training.train import train

        result = train(
            job.recipe,
            folder,
            resume=folder.exists,
            callbacks=[reporter, *callbacks, *job.callback_config.build_callbacks()],
            command=job.command,
            stop=stop,
            **options,
        )
    except (Interrupted, StorageError):
        raise
    except Exception as error:
        if stop.reason in AT_ONCE:  # resumed, it will fail again if it must
            raise Interrupted("left as it failed", "go on with --resume", stop.signum) from error
        return _failed_result(error)
    return JobResult(result["stop_reason"])


def _failed_result(error: Exception) -> JobResult:
    """Return the result of a run that an error ended."""
    kind = type(error).__name__
    if isinstance(error, CifarlabError):
        return JobResult(failure=Failure(kind, error.what, error.hint))
    return JobResult(failure=Failure(kind, f"{kind}: {str(error)[:200]}", "please report it"))


def _require_shared(folder: RunFolder) -> None:
    """Refuse a machine that does not see the experiment's folder, which its driver has made."""
    if not is_folder(folder.path.parent):
        what = f"{platform.node()} does not see {folder.path.parent}"
        raise RunFolderError(what, NOT_SHARED)


def _wait_for_folder(folder: RunFolder) -> None:
    """Wait until a killed worker that had the run before has released its folder."""
    timeout_error = RunFolderError(
        f"{folder.path} was held by another process for {_HANDOVER:g} seconds",
        "end that process: it goes on with a run that was taken from it",
    )
    with lock_folder(folder.path, timeout_error, _HANDOVER):
        pass


def work(
    driver: Connection, threads: int, env_vars: Mapping[str, str], train: TrainJob = train_job
) -> None:
    """Train one job after another, until the driver has none or its connection ends.

    Args:
        driver: connection to the driver
        threads: CPU threads that training may use
        env_vars: environment variables; they name the worker's GPU
        train: trains one job
    """
    from cifarlab.system.threads import limit_threads

    os.environ.update(env_vars)  # CUDA, which reads them when it starts, has not started yet
    limit_threads(threads)
    with driver, suppress(EOFError, OSError):
        driver.send(WORKER_READY)
        while (job := _receive(driver)) != LEAVE:
            try:
                driver.send(train(job, driver) if isinstance(job, Job) else job)
            except (Interrupted, StorageError) as error:
                driver.send(error)


def _receive(driver: Connection) -> Any:
    """Return the next job or LEAVE, or the failure of a job that can't be read here."""
    try:
        return driver.recv()
    except (EOFError, OSError):
        raise
    except Exception as error:  # another version of ours, or of a plug-in
        return _failed_result(error)
