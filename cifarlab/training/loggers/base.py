"""What all loggers have in common.

A logger copies what is on the disk: a start first copies the epochs that the tool lacks, whatever
an earlier start was ended by. So an epoch is logged once, and a failure costs nothing but delay.
"""

import math
import os
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from cifarlab.plots.catalog import FIGURES
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import MARKER_FILES
from cifarlab.run_folder.run_data import SPLIT_NAMES, read_runs
from cifarlab.run_folder.values import flatten, leaves
from cifarlab.system.errors import CifarlabError
from cifarlab.system.extras import require_packages
from cifarlab.system.signals import AT_ONCE
from cifarlab.system.terminal import console
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run

_MAX_LETTERS = 200  # of a failure's text
_RETRY_SECONDS = 600  # that a server is not asked again: it may take long not to answer
_failed_servers: dict[str, float] = {}  # servers that this process asked in vain, and when
_MAX_DEPTH = 3  # folders between a study's or search's and its runs', and one more


RunEnd = Literal["finished", "interrupted", "failed"]  # only a finished run does not go on


class LoggedRun(NamedTuple):
    """A run as a tool is to know it.

    ``id`` is the same at each start; ``group`` is the name of its study, search or race, or empty;
    ``settings`` are the recipe's, by dotted key, and the fingerprint.
    """

    id: str
    name: str
    group: str
    folder: RunFolder
    settings: dict[str, Any]


class Figure(NamedTuple):
    """A figure of the finished run: its kind, what it shows in words, a PNG."""

    kind: str
    alt: str
    png: bytes


class Logger(Callback):
    """Base of all loggers. Whatever one raises is printed in a line, and it logs no more.

    ``kind`` is the name of the callback, its extra and its package; ``environment`` has the tool's
    variables that hold meanwhile, where the user has not set them. ``logged_run`` is set before
    ``open`` is called.
    """

    kind: ClassVar[str]
    environment: ClassVar[Mapping[str, str]] = {}
    logged_run: LoggedRun

    def __init__(self) -> None:
        self._is_open = self._has_failed = self._is_finished = False

    @property
    def server(self) -> str:
        """Return the address of the server that all runs are logged to; empty: there is none."""
        return ""

    @abstractmethod
    def open(self) -> int:
        """Start or continue the logged run; return the last epoch that it has, 0 for none."""

    @abstractmethod
    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log an epoch's numbers by name, such as ``val/loss``."""

    @abstractmethod
    def log_result(self, epoch: int, values: dict[str, float]) -> None:
        """Log the result's numbers by name, such as ``result/test/accuracy``, at the last epoch."""

    @abstractmethod
    def log_figures(self, figures: Sequence[Figure]) -> None:
        """Log the figures of the finished run."""

    @abstractmethod
    def close(self, end: RunEnd) -> None:
        """Close the logged run; say how it ended, or that its logger failed."""

    def on_train_start(self, run: Run) -> None:
        """Start or continue the logged run, and log the epochs that it lacks.

        Of a server that failed at a start a moment ago, which was printed then, do nothing.
        """
        since = time.monotonic() - _failed_servers.get(self.server, -math.inf)
        self._has_failed = since < _RETRY_SECONDS
        self._try(run, self._start)

    def on_epoch_end(self, run: Run, line: dict[str, Any]) -> None:
        """Log the epoch."""
        self._try(run, lambda _: self.log_epoch(line["epoch"], epoch_values(line)))

    def on_train_end(self, run: Run, result: dict[str, Any]) -> None:
        """Log the result and the figures."""

        def end(run: Run) -> None:
            self.log_result(run.state.epoch, result_values(result))
            mtime_ns = run.folder.result_file.stat().st_mtime_ns
            self.log_figures(draw_figures(run.folder.path.resolve(), mtime_ns))
            self._is_finished = True

        self._try(run, end)

    def teardown(self, run: Run) -> None:
        """Close the logged run."""
        if self._has_failed:
            with suppress(Exception), _variables(self.environment):
                self.close("failed")
        elif self._is_open:
            end: RunEnd = "interrupted" if run.stop.reason in AT_ONCE else "failed"
            self._try(run, lambda _: self.close("finished" if self._is_finished else end))

    def _start(self, run: Run) -> None:
        require_packages(f"the callback {self.kind}", self.kind, self.kind)
        self._is_open = True
        logged = self._open(run)
        if logged > run.state.epoch:  # the run went back to its best epoch, which no tool can
            self.close("interrupted")
            logged = self._open(run, anew=True)
        for line in run.folder.metrics.read():
            if line["epoch"] > logged:
                self.log_epoch(line["epoch"], epoch_values(line))

    def _open(self, run: Run, anew: bool = False) -> int:
        """Open the logged run, or ``anew``: another one; an id is drawn at the first time."""
        folder, ids = run.folder, run.folder.logged_ids()
        if anew or self.kind not in ids:
            ids = ids | {self.kind: uuid.uuid4().hex[:12]}
            folder.write_logged_ids(ids)  # first, so that a start that is killed leaves no second
        path = folder.path.resolve()
        settings = flatten(run.recipe.model_dump(mode="json"))
        settings |= {"fingerprint": fingerprint(run.recipe)}
        group = find_group(path)
        self.logged_run = LoggedRun(ids[self.kind], path.name, group, folder, settings)
        return self.open()

    def _try(self, run: Run, action: Callable[[Run], None]) -> None:
        """Do something, unless something failed before; print what fails."""
        if self._has_failed:
            return
        try:
            with _variables(self.environment):
                action(run)
        except Exception as error:
            self._has_failed = True
            others = ""
            if self.server and action == self._start:
                _failed_servers[self.server] = time.monotonic()
                others = f" and of runs that start in the next {_RETRY_SECONDS // 60} minutes"
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if isinstance(error, CifarlabError):
                reason = f"{error.what}; {error.hint}"
            console.print(
                f"note: {self.kind} logs no more of {run.folder.path}{others}: "
                f"{reason[:_MAX_LETTERS]}"
            )


def epoch_values(line: dict[str, Any]) -> dict[str, float]:
    """Return the numbers in a line of the metrics log, by name."""
    return {path.replace(".", "/"): float(v) for path, v in leaves(line) if _is_number(v)}


def result_values(result: dict[str, Any]) -> dict[str, float]:
    """Return the numbers in a result that runs are compared by, by name."""
    counts = {key: result[key] for key in ("parameters", "epochs", "steps")}
    values = counts | {f"cost/{key}": value for key, value in result["cost"].items()}
    for split in SPLIT_NAMES:
        if score := result.get(split):
            interval = dict(zip(("accuracy_low", "accuracy_high"), score["interval"], strict=True))
            values |= {f"{split}/{key}": v for key, v in (score["metrics"] | interval).items()}
    return {f"result/{key}": float(v) for key, v in values.items() if _is_number(v)}


@lru_cache(maxsize=1)
def draw_figures(path: Path, _mtime_ns: int) -> list[Figure]:
    """Return the report's figures of a run.

    Args:
        path: its folder
        _mtime_ns: when its result was written; several loggers draw them once

    Raises:
        RunFolderError: the folder is damaged
    """
    from cifarlab.plots.draw import draw_all

    (run,) = read_runs([path])
    pictures = draw_all(FIGURES, run, ("png",)).items()
    return [Figure(kind, picture.alt, picture.files["png"]) for kind, picture in pictures]


def find_group(path: Path) -> str:
    """Return the name of the study, search or race that a run's folder lies in, or nothing."""
    for parent in path.parents[:_MAX_DEPTH]:
        if any((parent / file).is_file() for file in MARKER_FILES):
            return parent.name
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextmanager
def _variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set the environment variables that are not set, and unset them behind the block."""
    missing = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
