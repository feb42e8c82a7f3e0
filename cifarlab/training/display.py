"""The progress of a run on a terminal: a bar, or plain lines elsewhere."""

import sys
import time
from contextlib import ExitStack, redirect_stdout
from typing import Any, TextIO, cast

from rich import progress

from cifarlab.data.opening import OpenData
from cifarlab.recipes.lint import lint
from cifarlab.system.output import Output
from cifarlab.system.terminal import as_percent, console, format_duration
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.workload import Workload, count_passes, count_work, estimate_time, find_kind

_REFRESH = 0.1  # seconds between two moves of a bar
_LOG_INTERVAL = 30.0  # seconds after which a plain log says that a long epoch still goes on
_ESTIMATE_AFTER = 3.0  # seconds of training after which its length is estimated
_SHORTEST_ESTIMATE = 10.0  # seconds: what is left of a run is said where it is longer


class Display(Callback):
    """A bar for downloads and decoding and then, as a callback, for the training.

    Where the output is no terminal: a line for each thing that begins, and one per epoch.
    """

    def __init__(self) -> None:
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[speed]}", markup=False),
            progress.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._output = ExitStack()
        self._description = ""
        self._images = 0
        self._epoch_start = self._last_update = 0.0
        self._work: Workload | None = None  # what is left; None where that has been said
        self._first_step_end = self._passes = 0.0  # when, and what was done since then
        self._printed: set[str] = set()

    def __enter__(self) -> "Display":
        if not isinstance(sys.stdout, Output):  # from Python: a log that fails ends no training
            self._output.enter_context(redirect_stdout(cast(TextIO, Output(sys.stdout))))
        return self

    def __exit__(self, *_: object) -> None:
        self._output.close()

    def prepare(self, description: str, completed: int, total: int | None) -> None:
        """Show how far a download or a decoding is.

        Args:
            description: what goes on, in words
            completed: how much is done, e.g. in bytes or images
            total: of how much; None where that is not known
        """
        if description != self._description:
            self._start_bar(description, total)
            if self._bars.disable:
                console.print(f"{description} ...")
        self._update_bar(completed=completed, total=total)

    def on_train_start(self, run: Run) -> None:
        """Print what the data are, what is trained, and what the linter finds in the recipe."""
        data, state = run.dataset, run.state
        for line in OpenData(data, run.recipe.data).summary():
            self._print_once(line)
        count = run.processes.world_size
        device = f"{count} x {run.compute.device.type}" if count > 1 else run.compute.device.type
        console.print(
            f"{run.recipe.name} on {data.name}; {device}, {run.compute.precision}; "
            f"{run.folder.path}"
        )
        if run.threads_note:
            console.print(run.threads_note)
        if state.step:
            console.print(f"going on after step {state.step} of {run.plan.steps}")
        else:
            for finding in lint(run.recipe, len(run.loader.indices), data.split_names):
                self._print_once(f"lint: {finding}")
        for note in run.notes:
            console.print(f"note: {note}")
        self._start_bar("training", run.plan.steps)
        self._epoch_start = self._last_update = time.monotonic()
        self._work, self._first_step_end, self._passes = count_work(run), 0.0, 0.0

    def on_step_end(self, run: Run, images: int) -> None:
        """Move the bar, at most ten times a second; say once how long the run takes."""
        self._images += images
        now = time.monotonic()
        if self._work:
            self._print_time_left(run, self._work, images, now)
        if now - self._last_update <= (_LOG_INTERVAL if self._bars.disable else _REFRESH):
            return
        self._last_update, step = now, run.state.step
        speed = f"{self._images / (now - self._epoch_start):,.0f} images/s"
        epoch = f"epoch {run.state.epoch + 1}/{len(run.plan.epochs)}"
        self._update_bar(completed=step, description=epoch, speed=speed)
        if self._bars.disable:
            console.print(f"  step {step} of {run.plan.steps}, {speed}")

    def on_epoch_end(self, run: Run, line: dict[str, Any]) -> None:
        """Print the epoch's metrics."""
        train, val = line["train"], line["val"]
        val_text = f"  val loss {val['loss']:.4f} acc {as_percent(val['accuracy'])}" if val else ""
        console.print(
            f"epoch {line['epoch']:>3}/{len(run.plan.epochs)}  lr {line['lr']:.4g}  "
            f"train loss {train['loss']:.4f} acc {as_percent(train['accuracy'])}{val_text}  "
            f"{line['cost']['images_per_second'] or 0:,.0f} images/s"
        )
        self._images = 0
        self._epoch_start = self._last_update = time.monotonic()

    def on_train_end(self, run: Run, result: dict[str, Any]) -> None:
        """Print the result."""
        for split in ("val", "test"):
            if split in result:
                console.print(format_score(split, result[split], result["data"]))
        for note in result["notes"]:
            console.print(f"note: {note}")

    def _print_time_left(self, run: Run, work: Workload, images: int, now: float) -> None:
        """Count a step, and after some seconds print how long the rest takes at their speed."""
        kind = find_kind(run, run.state.step - 1)
        work.n_images[kind] -= images
        if not self._first_step_end:  # the first step also sets things up
            self._first_step_end = now
            return
        self._passes += images * count_passes(run, kind)
        seconds = now - self._first_step_end
        if seconds < _ESTIMATE_AFTER:
            return
        self._work = None
        speed = self._passes / seconds
        left = estimate_time(run, work, lambda kind: count_passes(run, kind) / speed, 1 / speed)
        if sum(left) >= _SHORTEST_ESTIMATE:
            console.print(f"about {format_duration(sum(left))} to go")

    def _print_once(self, line: str) -> None:
        """Print a line, unless another run of the same command printed it."""
        if line not in self._printed:
            console.print(line)
        self._printed.add(line)

    def _start_bar(self, description: str, total: int | None) -> None:
        """Replace the bar by a new one; the first one takes the terminal."""
        if not (self._bars.disable or self._bars.live.is_started):
            self._output.enter_context(self._bars)
        for task in self._bars.task_ids:
            self._bars.remove_task(task)
        self._bars.add_task(description, total=total, speed="")
        self._description = description

    def _update_bar(self, **changes: Any) -> None:
        for task in self._bars.task_ids:
            self._bars.update(task, **changes)


def format_score(split: str, score: dict[str, Any], data: str) -> str:
    """Return one split's accuracy with its interval, in words.

    Args:
        split: ``val`` or ``test``
        score: accuracy, interval, number of images and loss, as in result.json
        data: name of the dataset
    """
    low, high = score["interval"]
    return (
        f"{split} accuracy {as_percent(score['accuracy'])} on {data} "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f}, n = {score['n']:,}), "
        f"loss {score['loss']:.4f}"
    )
