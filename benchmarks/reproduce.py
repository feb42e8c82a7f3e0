"""The five reports' experiments at full length, in the order of what they teach per hour.

    CIFARLAB_DATA=DIR python benchmarks/reproduce.py [--hours H] [--only PATTERN]
                                                     [--device cpu|cuda] [--jobs N] [--costs]

First come the rows and searches that ORDER names; then all others, the cheapest first, for which
the first steps of each are measured, once per machine. What is not begun and needs more than what
is left of --hours is not begun. All goes on where it was after a stop or SIGKILL. A finished run or
search is published under docs/reports/ at once, and docs/reports.md is written anew; one whose
recipe has changed since is trained again.

Hours are counted without pauses; the first line printed says how to pause (SIGSTOP to the process
group, since SIGSTOP of this process alone leaves what it started training). Started by ``setsid``
it gives way to everything else. ``--costs`` measures what all rows would cost, and trains none.
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import count
from pathlib import Path

import torch
from _planning import ORDER, ORDER_ON_GPU, Planned, n_steps, plan, step_cost_key, train_words
from _published import costs_file, measured_hours, read_costs
from _reports import write_page
from _results import hardware

from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import add_number
from cifarlab.system.device import device_name
from cifarlab.system.errors import CifarlabError, RecipeError, RunFolderError
from cifarlab.system.files import lock_folder, write_json, write_text

# the runs that measure what a row costs have so many steps, or as many as fit into the time
MEASURED = ("training.duration=40 steps", "training.max_time=20 s", "evaluation.test=false")
GRACE = 60  # seconds for a checkpoint after a stop
TICK = 1.0  # seconds
_PR_SET_PDEATHSIG = 1  # as Linux numbers it
_C = ctypes.CDLL(None)


class Runner:
    """Trains what is planned, a few at a time; all that it starts is stopped with it."""

    command = (sys.executable, "-m", "cifarlab")

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder, self.jobs = options.runs.resolve(), options.jobs
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {"CIFARLAB_DEVICE": options.device}
        if options.device == "cpu":
            threads = self.environment.setdefault(
                "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs))
            )
            self.machine = f"{hardware()['cpu']}, threads: {threads}"
        else:
            self.machine = device_name(torch.device(options.device))
        self.machine += f", {options.jobs} at a time"
        self.hours_left = options.hours
        self.stopped = threading.Event()
        self._publishing, self._measuring = threading.Lock(), threading.Lock()
        threading.Thread(target=self._count_hours, daemon=True).start()

    def _count_hours(self) -> None:
        """Stop when the hours are over; a pause, however long, is one tick."""
        while self.hours_left > 0 and not self.stopped.wait(TICK):
            self.hours_left -= TICK / 3600
        self.stopped.set()

    def stop(self, *_: object) -> None:
        """End all runs, each after a checkpoint."""
        self.stopped.set()

    def train(self, ordered: Iterable[Planned], rest: Iterable[Planned]) -> None:
        """Carry out what is ordered, and then the rest, the cheapest first."""
        with ThreadPoolExecutor(self.jobs) as pool:
            self._carry_out_all(pool, ordered)
            hours = {planned: self.measure_hours(planned) for planned in rest}
            known = {planned: value for planned, value in hours.items() if value is not None}
            self._carry_out_all(pool, sorted(known, key=lambda planned: known[planned]))

    def _carry_out_all(self, pool: Executor, batch: Iterable[Planned]) -> None:
        futures = [pool.submit(self.carry_out, planned) for planned in batch]
        while wait(futures, TICK).not_done:
            pass  # a signal that reached another thread is handled in this one, once it wakes
        for future in futures:
            future.result()

    def carry_out(self, planned: Planned) -> None:
        """Train one run, or search, to its end and publish it, unless there is no time left."""
        folder = planned.folder(self.folder)
        try:
            set_aside_others(planned, folder)
            if not self.stopped.is_set() and (folder.exists() or self._fits(planned)):
                self._complete(planned, folder)
        except CifarlabError as error:
            say(planned, f"{error.what}; {error.hint}")
        except OSError as error:  # of publishing; what is trained stays
            say(planned, f"not published: {error}")

    def _fits(self, planned: Planned) -> bool:
        """Return whether there is time for what is not begun yet; say how long it takes."""
        hours = self.measure_hours(planned)
        fits = hours is not None and hours <= self.hours_left
        if hours is not None:
            say(planned, f"about {hours:.1f} hours" + ("" if fits else ", more than are left"))
        return fits

    def _complete(self, planned: Planned, folder: Path) -> None:
        log, seconds_file = folder.with_suffix(".log"), folder.with_suffix(".seconds")
        if not seconds_file.exists():
            write_text(seconds_file, f"{3600 * measured_hours(folder):.0f}")
        for words, end in planned.commands(folder, self.folder):
            if not end.exists():
                wait_for(folder)
                code = self.call(words, log)
            if not end.exists():
                say(
                    planned, "stopped" if self.stopped.is_set() else f"ended with {code}: see {log}"
                )
                return
        with self._publishing:
            planned.publish(folder, float(seconds_file.read_text()))
            write_page()
        say(planned, "published")

    def call(self, words: list[str], log: Path) -> int:
        """Run a command to its end, or until we are stopped; return its exit code.

        The seconds that it ran, pauses left out, are added to a file beside its log.
        """
        seconds_file = log.with_suffix(".seconds")
        seconds = float(seconds_file.read_text()) if seconds_file.exists() else 0.0
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*self.command, *words],
                stdout=file,
                stderr=file,
                env=self.environment,
                cwd=self.folder,
                preexec_fn=_prepare_child,
            )
        try:
            for tick in count(1):
                if process.poll() is not None:
                    break
                if self.stopped.wait(TICK):
                    process.send_signal(signal.SIGTERM)
                    process.wait(GRACE)
                seconds += TICK
                if tick % 60 == 0:
                    write_text(seconds_file, str(seconds))
        except subprocess.TimeoutExpired:
            process.kill()
        finally:
            write_text(seconds_file, str(seconds))
        return process.wait()

    def measure_hours(self, planned: Planned) -> float | None:
        """Return the hours of a whole run or search here, from first steps; None where they fail.

        Once we are stopped, nothing is measured.
        """
        with self._measuring:
            costs = read_costs()
            known = costs.setdefault(self.machine, {})
            if planned.name not in known:
                if self.stopped.is_set() or (seconds := self._time_step(planned, known)) is None:
                    return None
                known[planned.name] = round(seconds * planned.steps / 3600, 3)
                write_json(costs_file(), costs)
            return known[planned.name]

    def _time_step(self, planned: Planned, known: Mapping[str, float]) -> float | None:
        """Return the seconds of a step, measured once for all recipes whose steps cost the same."""
        for name in known.keys() & shipped_recipes().keys():
            if step_cost_key(name) == step_cost_key(planned.recipe):
                return 3600 * known[name] / n_steps(find(name))
        return self._train_steps(planned)

    def _train_steps(self, planned: Planned) -> float | None:
        """Return the seconds of a step, from a run of a few, pauses left out."""
        with tempfile.TemporaryDirectory(prefix=".measuring-", dir=self.folder) as parent:
            folder, log = Path(parent) / "run", Path(parent) / "run.log"
            self.call(train_words([planned.recipe, *MEASURED], folder, self.folder), log)
            result = RunFolder(folder).result()
            if result is None:
                if not self.stopped.is_set():
                    say(planned, f"left out, since its first steps failed\n{log.read_text()}")
                return None
            seconds = float(log.with_suffix(".seconds").read_text())
            return min(float(result["cost"]["train_seconds"]), seconds) / int(result["steps"])


def _lower_session() -> None:
    """Lower the priority of our session, where that is ours alone (``setsid``).

    Linux shares processors among sessions first; niceness counts within one.
    """
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text("19", encoding="utf-8")


def _prepare_child() -> None:
    """Run the child at low priority, and end it, after a checkpoint, should we be killed."""
    os.nice(19)
    if sys.platform == "linux":
        _C.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_for(folder: Path) -> None:
    """Wait for what we had started before we were killed: it may be writing its checkpoint yet."""
    if folder.exists():
        held = RunFolderError(f"{folder} is in use by another process", "end it")
        with lock_folder(folder, held, GRACE):
            pass


def set_aside_others(planned: Planned, folder: Path) -> None:
    """Rename a folder that was begun with another recipe, or search, than today's."""
    with suppress(RecipeError):
        if planned.is_in(folder):
            return
    paths = (folder.with_name(add_number(folder.name, number)) for number in count(2))
    folder.rename(next(path for path in paths if not path.exists()))
    folder.with_suffix(".seconds").unlink(missing_ok=True)


def say(planned: Planned, text: str) -> None:
    """Print the time, what it is about, and the text."""
    print(time.strftime("%H:%M"), *planned, text, flush=True)


def main() -> None:
    """Train what there is time for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=1e6, help="stop after so many")
    parser.add_argument("--only", default="*", help="rows and searches that match a shell pattern")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:3, mps")
    parser.add_argument("--jobs", type=int, help="runs at a time: 1, on a GPU 8 (--costs: 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs/reports"))
    parser.add_argument("--costs", action="store_true", help="measure what each row costs, no more")
    options = parser.parse_args()
    options.jobs = options.jobs or (1 if options.costs or options.device == "cpu" else 8)
    _lower_session()
    runner = Runner(options)
    signal.signal(signal.SIGTERM, runner.stop)
    signal.signal(signal.SIGINT, runner.stop)
    print(f"To pause all: kill -STOP -- -{os.getpgrp()}; to go on: kill -CONT -- -{os.getpgrp()}")
    ordered, rest = plan(ORDER if options.device == "cpu" else ORDER_ON_GPU, options.only)
    if not options.costs:
        runner.train(ordered, rest)
    for planned in [*ordered, *rest] if options.costs else ():
        if (hours := runner.measure_hours(planned)) is not None:
            say(planned, f"about {hours:.2f} hours")
    write_page()


if __name__ == "__main__":
    main()
