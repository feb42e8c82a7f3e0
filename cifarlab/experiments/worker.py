"""The worker's side of the engine: train one run after another, and wait after each epoch.

It is the same in the driver's process, in another process of this machine and on a cluster.
"""

import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CifarlabError, Interrupted, RunFolderError, StorageError
from cifarlab.system.files import is_folder, lock_folder, reason
from cifarlab.system.signals import AT_ONCE, StopRequest
from cifarlab.training.callback import Callback
from cifarlab.training.callbacks import CallbacksConfig

LEAVE = "leave"  # sent by a driver at any time: leave the run at its checkpoint
WORKER_READY = "ready"  # the first message of a worker
NOT_SHARED = "a cluster needs one folder for all its machines"
_HANDOVER = 120  # turns of a second that a killed worker may take to release its run folder
_FINAL = ("DivergenceError", "RecipeError")
_OWN = (*_FINAL, "OutOfMemoryError", "PluginError")


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
    hint: str = ""

    @property
    def is_own(self) -> bool:
        """Return whether it comes from the run itself, not perhaps from where it was trained."""
        return self.kind in _OWN

    @property
    def is_final(self) -> bool:
        """Return whether the run would fail so again."""
        return self.kind in _FINAL


def describe_failure(error: Exception) -> Failure:
    """Return an error as the failure of a run."""
    kind = type(error).__name__
    if isinstance(error, CifarlabError):
        return Failure(kind, error.what, error.hint)
    return Failure(kind, f"{kind}: {reason(error)}", "please report it")


class JobResult(NamedTuple):
    """The end of a run: why training stopped, or how it failed.

    ``has_result``: its folder has the result.
    """

    stop_reason: str = "failed"
    failure: Failure | None = None
    has_result: bool = False


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


def train_job(job: Job, driver: Driver) -> JobResult:
    """Train a run to its end; of a run that has ended, send the epochs and the result again.

    Args:
        job: the run
        driver: receives each epoch and answers whether the run goes on

    Raises:
        Interrupted: the driver asked to leave the run
        StorageError: the disk can't be written to, which other runs would meet as well
        RunFolderError: another process keeps the run
        Exception: a fault that may have spoilt this process, as an error of a GPU does
    """
    folder, stop = RunFolder(job.path), StopRequest()
    reporter = _Reporter(driver, stop)
    if not is_folder(folder.path.parent):  # the driver has made it
        what = f"{platform.node()} does not see {folder.path.parent}"
        return JobResult(failure=Failure("RunFolderError", what, NOT_SHARED))
    _wait_for_folder(folder, reporter)
    try:
        if folder.is_finished:  # the driver was killed before it received the result
            reporter.replay(folder)
            return JobResult(str((folder.result() or {}).get("stop_reason")), has_result=True)
        from cifarlab.training.train import train

        result = train(
            job.recipe,
            folder,
            resume=folder.exists,
            callbacks=[reporter, *job.callback_config.build_callbacks()],
            command=job.command,
            stop=stop,
        )
    except (Interrupted, StorageError):
        raise
    except Exception as error:
        if stop.reason in AT_ONCE:  # resumed, it will fail again if it must
            raise Interrupted("left as it failed", "go on with --resume", stop.signum) from error
        if not isinstance(error, CifarlabError):
            raise
        return JobResult(failure=describe_failure(error))
    return JobResult(result["stop_reason"], has_result=True)


def _wait_for_folder(folder: RunFolder, reporter: _Reporter) -> None:
    """Wait until a killed worker that had the run before has released its folder.

    Raises:
        Interrupted: the driver asks to leave the run
        RunFolderError: the folder is held for too long
    """
    error = RunFolderError(
        f"{folder.path} was held by another process for {_HANDOVER} seconds",
        "end that process: it goes on with a run that was taken from it",
    )
    for _ in range(_HANDOVER):
        reporter.leave_if_requested()
        with suppress(RunFolderError), lock_folder(folder.path, error, timeout=1):
            return
    raise error


def work(
    driver: Connection, threads: int, env_vars: Mapping[str, str], train: TrainJob = train_job
) -> None:
    """Train one job after another, until the driver has none or its connection ends.

    It also ends after an error that is none of ours: what a GPU reports stays in its process.

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
        while True:
            message: Any
            try:
                if (job := driver.recv()) == LEAVE:
                    return
                message = train(job, driver)
            except CifarlabError as error:
                message = error
            except Exception as error:  # also a job of another version of ours, or of a plug-in
                driver.send(describe_failure(error))
                return
            if "torch" in sys.modules:
                from cifarlab.system.device_memory import release_memory

                release_memory()
            driver.send(message)
