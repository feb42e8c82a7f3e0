"""What loggers cost a run: seconds at its start, for each epoch and at its end.

    python benchmarks/loggers.py [--repeats 5] [--tracking-uri http://127.0.0.1:5000]

Recipe ``quickstart`` on the embedded digits, one logger at a time; loggers take turns, and one more
round, before, imports the tools (``first_start``). Seconds of this process's processor time, which
other programs hardly lengthen, and of the clock, in which a service or server of the tool works,
too. The figures that loggers copy at the end are drawn before they are timed, as a row of their
own. MLflow writes to its database in a file, and to a server as well where one is named.
"""

import argparse
import importlib.metadata
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _results import write_result

import cifarlab as lab
from cifarlab.training.callbacks import name_callbacks
from cifarlab.training.loggers.base import Logger, draw_figures

EPOCHS = 5
KINDS = ("tensorboard", "mlflow", "wandb", "trackio")
Times = dict[str, list[tuple[float, float]]]  # by point: seconds of the processor, of the clock


class Timed(lab.Callback):
    """Calls a logger and keeps how long each call took."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self.times: Times = {"start": [], "epoch": [], "figures": [], "end": []}

    def _time(self, point: str, work: Callable[[], object]) -> None:
        before = time.process_time(), time.perf_counter()
        work()
        seconds = time.process_time() - before[0], time.perf_counter() - before[1]
        self.times[point].append(seconds)

    def on_train_start(self, run: Any) -> None:
        """Time the logger's start."""
        self._time("start", lambda: self.logger.on_train_start(run))

    def on_epoch_end(self, run: Any, line: dict[str, Any]) -> None:
        """Time an epoch's numbers."""
        self._time("epoch", lambda: self.logger.on_epoch_end(run, line))

    def on_train_end(self, run: Any, result: dict[str, Any]) -> None:
        """Time the figures, and then the logger's end."""
        written = run.folder.result_file.stat().st_mtime_ns
        self._time("figures", lambda: draw_figures(run.folder.path.resolve(), written))
        self._time("end", lambda: self._end(run, result))

    def _end(self, run: Any, result: dict[str, Any]) -> None:
        self.logger.on_train_end(run, result)
        self.logger.teardown(run)
        assert not self.logger._has_failed


def measure(folder: Path, ways: dict[str, str], repeats: int) -> dict[str, list[Times]]:
    """Times of each way, by round; the first round imports the tools."""
    rounds: dict[str, list[Times]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, text in ways.items():
            (logger,) = name_callbacks([text], ()).build_callbacks()
            timed = Timed(logger)
            length = {"training.duration": f"{EPOCHS} epochs"}
            run = folder / f"{name.replace(' ', '-')}-{turn}"
            lab.train("quickstart", length, run=run, callbacks=[timed], threads=1)
            rounds[name].append(timed.times)
    return rounds


def summarize(rounds: list[Times]) -> dict[str, Any]:
    """Medians by point, in seconds of the processor and of the clock; n values each."""
    points = {"first_start": rounds[0]["start"]}
    for point in ("start", "epoch", "figures", "end"):
        points[point] = [pair for times in rounds[1:] for pair in times[point]]
    return {
        point: {
            "n": len(pairs),
            "processor": round(statistics.median(p for p, _ in pairs), 4),
            "clock": round(statistics.median(c for _, c in pairs), 4),
        }
        for point, pairs in points.items()
    }


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tracking-uri", help="of an MLflow server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRACKIO_DIR"] = str(folder / "trackio")
        ways = {kind: kind for kind in KINDS}
        ways["mlflow"] = f"mlflow:tracking_uri=sqlite:///{folder}/mlflow.db"
        if options.tracking_uri:
            ways["mlflow server"] = f"mlflow:tracking_uri={options.tracking_uri}"
        os.chdir(folder)
        rounds = measure(folder, ways, options.repeats)
    loggers = {name: summarize(times) for name, times in rounds.items()}
    for name, points in loggers.items():
        print(name, *(f"{point} {value['processor']}" for point, value in points.items()))
    tools = {kind: importlib.metadata.version(kind) for kind in KINDS}
    print(write_result("loggers", "cpu", {"tools": tools, "epochs": EPOCHS, "seconds": loggers}))


if __name__ == "__main__":
    main()
