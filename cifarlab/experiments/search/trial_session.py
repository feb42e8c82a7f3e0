"""One trial in its worker: a run that waits after each epoch until it is told how it goes on.

Knows nothing of Ray. A run is trained by ``training.train`` in a thread; ``next`` lets it go on
and waits for what it says next: an epoch with its score, and at last why it ended.
"""

import json
import queue
import threading
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.messages import EPOCH, FAILURE, FATAL, SCORE, WHY
from cifarlab.experiments.search.space import Values
from cifarlab.experiments.search.trial_history import Ledger
from cifarlab.system.errors import CifarlabError, RunFolderError, StorageError

_HANDOVER = 120.0  # seconds that a killed worker may take to let go of its run folder

Message = dict[str, Any]


class Job(NamedTuple):
    """What a worker is told of a trial; plain values, to be sent as JSON.

    ``search`` is the search's folder, absolute, whose search.json says the rest; ``place`` the
    folder in which the command was given: relative paths of data begin there.
    """

    number: int
    values: Values
    search: str
    threads: int
    place: str


class _Left(BaseException):
    """Unwinds a run that is left at its last checkpoint."""


class Course:
    """A trial under way."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.last: Message = {EPOCH: 0, SCORE: 0.0}
        self._search = SearchFolder(Path(job.search))
        self._folder = self._search.trial(job.number)
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._leave: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._enough = False

    def next(self) -> Message:
        """Let the run go on to the end of its next epoch, or to its end; what it then says.

        A resumed run tells the epochs of its metrics log again, without training them.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, daemon=True)
            self._thread.start()
        else:
            self._leave.put(True)
        self.last = self.last | self._said.get()
        return self.last

    def end(self) -> None:
        """The trial gets no further epoch: finish its run if a rung stopped it, else leave it."""
        if self._thread is None or not self._thread.is_alive():
            return
        self._enough = Ledger(self._search.events()).trials[self.job.number].stopped
        self._leave.put(self._enough)
        self._thread.join()

    def _train(self) -> None:
        try:
            self._said.put(self._trained())
        except _Left:
            pass
        except StorageError as error:
            self._said.put({FATAL: json.dumps([error.what, error.hint])})
        except CifarlabError as error:
            failure = {"kind": type(error).__name__, "what": error.what, "hint": error.hint}
            self._said.put({WHY: "failed", FAILURE: json.dumps(failure)})
        except Exception as error:
            what = f"{type(error).__name__}: {str(error)[:200]}"
            failure = {"kind": type(error).__name__, "what": what, "hint": "please report it"}
            self._said.put({WHY: "failed", FAILURE: json.dumps(failure)})

    def _trained(self) -> Message:
        """Train the run, or go on with it; why it ended."""
        from cifarlab.training.train import train

        folder = self._folder
        self._await_folder()
        if folder.finished:  # the driver was killed before it heard of it
            self._tell_again()
            result = folder.result() or {}
        else:
            recipe, command = self._search.planned(self.job.number, self.job.values)
            result = train(
                recipe,
                folder,
                resume=folder.exists,
                hooks=[self],
                command=command,
                enough=lambda: self._enough,
            )
        return {WHY: result["ended"]}

    def _await_folder(self) -> None:
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

    def _tell_again(self) -> None:
        for line in self._folder.metrics.read():
            self.epoch_ended(None, line)

    def started(self, run: Any) -> None:
        """A resumed run: its epochs so far, each of which may turn out to have been the last."""
        self._tell_again()

    def stepped(self, run: Any, images: int) -> None:
        """Nothing: trials are compared between epochs."""

    def validated(self, run: Any) -> None:
        """Nothing: the epoch's line has it."""

    def epoch_ended(self, run: Any, line: dict[str, Any]) -> None:
        """Tell the epoch and wait for leave to go on."""
        if self._enough:
            return
        score = max(self.last[SCORE], line["val"]["accuracy"])
        self._said.put({EPOCH: line["epoch"], SCORE: score})
        if not self._leave.get() and not self._enough:
            raise _Left

    def finished(self, run: Any, result: dict[str, Any]) -> None:
        """Nothing: the result says it."""


def as_job(text: str) -> Job:
    """A job as it was sent."""
    return Job(*json.loads(text))
