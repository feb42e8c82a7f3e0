"""What a person sees while cifarlab works: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # importing it takes seconds
    from cifarlab.train import Run

# a pipe or a file has no width to wrap at
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
_SILENCE = 30.0  # seconds after which a plain log says that a long epoch still goes on


def percent(share: float) -> str:
    """An accuracy as people write it."""
    return f"{100 * share:.2f} %"


class Preparing:
    """Shows downloads and decoding; call it with (what, done, total or None)."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Callable[[str, int, int | None], None]:
        if console.is_terminal:
            self._bars.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self._bars.stop()

    def _show(self, what: str, done: int, total: int | None) -> None:
        if not console.is_terminal:
            if what not in self._tasks:
                self._tasks[what] = TaskID(0)
                console.print(f"{what} ...")
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)


class Watching:
    """A hook that shows a run: one line per epoch, and how far it is meanwhile."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[speed]:>7,.0f} images/s"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._task = TaskID(0)
        self._images = 0
        self._since = self._spoke = 0.0

    def started(self, run: "Run") -> None:
        """Say what is about to be trained."""
        data, state = run.dataset, run.state
        held_out = f", {len(run.validation):,} held out" if run.validation else ""
        console.print(
            f"{run.recipe.name} on {data.name}: {len(run.loader.indices):,} images{held_out}; "
            f"{run.compute.device.type}, {run.compute.precision}; {run.folder.path}"
        )
        if state.step:
            console.print(f"going on after step {state.step} of {run.plan.steps}")
        if console.is_terminal:
            self._bars.start()
            self._task = self._bars.add_task("", total=run.plan.steps, speed=0.0)
            self._bars.update(self._task, completed=state.step)
        self._since = self._spoke = time.monotonic()

    def stepped(self, run: "Run", images: int) -> None:
        """Move the bar, at most ten times a second."""
        self._images += images
        now = time.monotonic()
        if console.is_terminal:
            if now - self._spoke > 0.1:
                self._spoke = now
                self._bars.update(
                    self._task,
                    completed=run.state.step,
                    description=f"epoch {run.state.epoch + 1}/{len(run.plan.epochs)}",
                    speed=self._images / (now - self._since),
                )
        elif now - self._spoke > _SILENCE:
            self._spoke = now
            speed = self._images / (now - self._since)
            console.print(f"  step {run.state.step} of {run.plan.steps}, {speed:,.0f} images/s")

    def epoch_ended(self, run: "Run", line: dict[str, Any]) -> None:
        """Print the epoch's line."""
        train, val = line["train"], line["val"]
        held_out = f"  val loss {val['loss']:.4f} acc {percent(val['accuracy'])}" if val else ""
        console.print(
            f"epoch {line['epoch']:>3}/{len(run.plan.epochs)}  rate {line['rate']:.4g}  "
            f"train loss {train['loss']:.4f} acc {percent(train['accuracy'])}{held_out}  "
            f"{line['cost']['images_per_second'] or 0:,.0f} images/s"
        )
        self._images, self._since = 0, time.monotonic()
        self._spoke = self._since

    def finished(self, run: "Run", result: dict[str, Any]) -> None:
        """Print the result."""
        self.close()
        for split in ("val", "test"):
            if split in result:
                console.print(score_line(split, result[split], result["data"]))
        for note in result["notes"]:
            console.print(f"note: {note}")

    def close(self) -> None:
        """Take the bar away."""
        if console.is_terminal:
            self._bars.stop()


def score_line(split: str, measured: dict[str, Any], data: str) -> str:
    """One split's accuracy with its interval."""
    low, high = measured["interval"]
    return (
        f"{split} accuracy {percent(measured['accuracy'])} on {data} "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f}, n = {measured['n']:,}), "
        f"loss {measured['loss']:.4f}"
    )


def per_class_table(measured: dict[str, Any]) -> Table:
    """Accuracy of each class with its interval."""
    table = Table("class", "n", "accuracy", "95 % interval", box=None)
    for row in measured["per_class"]:
        if row["n"]:
            low, high = row["interval"]
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            table.add_row(row["class"], str(row["n"]), percent(row["accuracy"]), interval)
    return table


def print_table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table without lines; text in brackets is not markup."""
    table = Table(*headers, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
