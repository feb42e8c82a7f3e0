"""One trial in its worker: a run that waits after each epoch until it gets leave to go on.

Knows nothing of Ray. A run is trained by ``training.train`` in a thread; ``next`` lets it go on
and waits for its next message: an epoch with its score, and at last why it ended.
"""

import json
import queue
import threading
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.messages import EPOCH, FAILURE, FATAL, SCORE, STOP_REASON
from cifarlab.experiments.search.space import Params
from cifarlab.experiments.search.trial_history import TrialHistory
from cifarlab.system.errors import CifarlabError, Interrupted, RunFolderError, StorageError
from cifarlab.system.signals import StopRequest
from cifarlab.training.callback import Callback

_HANDOVER = 120.0  # seconds that a killed worker may take to let go of its run folder

Message = dict[str, Any]


class TrialJob(NamedTuple):
    """The trial that a worker trains; plain values, to be sent as JSON.

    ``search_dir`` is the search's folder, absolute, whose search.json says the rest;
    ``working_dir`` the folder in which the command was given: relative paths of data begin there;
    ``plugins`` the hashes of plug-ins that whoever gave it has approved.
    """

    number: int
    params: Params
    search_dir: str
    threads: int
    working_dir: str
    plugins: list[str]


class TrialSession(Callback):
    """Train a trial in a thread, epoch by epoch."""

    def __init__(self, job: TrialJob) -> None:
        self.job = job
        self.last_message: Message = {EPOCH: 0, SCORE: 0.0}
        self._search = SearchFolder(Path(job.search_dir))
        self._folder = self._search.trial(job.number)
        self._metric = self._search.metric
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._permissions: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = StopRequest()

    def next(self) -> Message:
        """Let the run go on to the end of its next epoch, or to its end; return its message.

        A resumed run sends the epochs of its metrics log again, without training them.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, daemon=True)
            self._thread.start()
        else:
            self._permissions.put(True)
        self.last_message = self.last_message | self._messages.get()
        return self.last_message

    def end(self) -> None:
        """The trial gets no further epoch: finish its run if a rung stopped it, else leave it."""
        if self._thread is None or not self._thread.is_alive():
            return
        stopped = TrialHistory(self._search.events()).trials[self.job.number].stopped
        self._stop.ask("stopped" if stopped else "abandoned")
        self._permissions.put(False)
        self._thread.join()

    def _train(self) -> None:
        try:
            self._messages.put(self._train_run())
        except Interrupted:  # abandoned: it is left at its last checkpoint
            pass
        except StorageError as error:
            self._messages.put({FATAL: json.dumps([error.what, error.hint])})
        except CifarlabError as error:
            failure = {"kind": type(error).__name__, "what": error.what, "hint": error.hint}
            self._messages.put({STOP_REASON: "failed", FAILURE: json.dumps(failure)})
        except Exception as error:
            what = f"{type(error).__name__}: {str(error)[:200]}"
            failure = {"kind": type(error).__name__, "what": what, "hint": "please report it"}
            self._messages.put({STOP_REASON: "failed", FAILURE: json.dumps(failure)})

    def _train_run(self) -> Message:
        """Train the run, or go on with it; why it ended."""
        from cifarlab.training.train import train

        folder = self._folder
        self._wait_for_folder()
        if folder.finished:  # the driver was killed before it heard of it
            self._replay_epochs()
            result = folder.result() or {}
        else:
            job = self.job
            recipe, command, watched = self._search.load_trial(job.number, job.params, job.plugins)
            result = train(
                recipe,
                folder,
                resume=folder.exists,
                callbacks=[self, *watched.build_callbacks()],
                command=command,
                stop=self._stop,
            )
        return {STOP_REASON: result["stop_reason"]}

    def _wait_for_folder(self) -> None:
        """Wait until the worker that had the run before, and was killed, has let go of it."""
        from filelock import FileLock, Timeout

        if not self._folder.path.is_dir():
            return
        try:
            with FileLock(self._folder.path / ".lock", timeout=_HANDOVER):
                pass
        except Timeout as error:
            raise RunFolderError(
                f"{self._folder.path} was held by another process for {_HANDOVER:g} seconds",
                "end that process: it goes on with a trial that was taken from it",
            ) from error

    def _replay_epochs(self) -> None:
        for line in self._folder.metrics.read():
            self.on_epoch_end(None, line)

    def on_train_start(self, run: Any) -> None:
        """A resumed run: its epochs so far, each of which may turn out to have been the last."""
        self._replay_epochs()

    def on_epoch_end(self, run: Any, line: dict[str, Any]) -> None:
        """Send the epoch's message and wait for leave to go on."""
        if self._stop.reason != "planned":
            return
        metric, score = self._metric, line["val"][self._metric.name]
        if self.last_message[EPOCH]:
            score = metric.sign * max(metric.sign * score, metric.sign * self.last_message[SCORE])
        self._messages.put({EPOCH: line["epoch"], SCORE: score})
        self._permissions.get()


def parse_job(text: str) -> TrialJob:
    """Return the job of a JSON text."""
    return TrialJob(*json.loads(text))
