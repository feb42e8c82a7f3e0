"""A run's headline and what happened by class, as rows of text; the pages only lay them out."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cifarlab.plots.run import class_names, confusion_counts, drawn_classes, largest_errors
from cifarlab.plots.spec import MANY
from cifarlab.run_folder.run_data import SPOKEN, RunData, dig, listed
from cifarlab.system.formatting import (
    NOTHING,
    count,
    interval,
    memory,
    number,
    percent,
    plain,
    seconds,
)

_NUMERIC = set("0123456789.,+-–—% <>")
_UNIT = re.compile("\u00a0(?:ms|s|min|h|MiB|GiB)\\b| to ")


class Fact(NamedTuple):
    """One line of a headline."""

    label: str
    value: str
    note: str = ""


class Table(NamedTuple):
    """Columns, and rows of one cell per column; a cell that is Markup is taken as it is."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @property
    def numbers(self) -> list[bool]:
        """Which columns hold nothing but numbers: they are aligned on the right."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        return [bool(cells) and all(map(_reads_as_number, cells)) for cells in columns]


def _reads_as_number(cell: Any) -> bool:
    bare = _UNIT.sub("", str(cell)).replace("\u00a0", "")
    return set(bare) <= _NUMERIC


def table_of(rows: Any, *columns: Any) -> Table:
    """Return a table of what should be a list of mappings.

    A column is (title, how a value is written, the path of keys to it).
    """
    cells = [tuple(write(dig(row, *keys)) for _, write, *keys in columns) for row in listed(rows)]
    return Table([title for title, *_ in columns], cells)


def drawn_note(run: RunData) -> str:
    """Return a sentence on the classes that a drawn matrix leaves out; empty where it has all."""
    counts = confusion_counts(run)
    k = 0 if counts is None else len(counts)
    drawn = 0 if counts is None else len(drawn_classes(counts))
    if drawn == k:
        return ""
    return (
        f"Of {k:,} classes, the {drawn} of the most frequent confusions are shown; the rest of "
        "a row went to the others."
    )


def counts(run: RunData) -> Table | None:
    """Return the confusion matrix as counts, where a table has room for it."""
    matrix = confusion_counts(run)
    if matrix is None or len(matrix) > MANY:
        return None
    names = class_names(run, len(matrix))
    rows = [(name, *row) for name, row in zip(names, matrix.tolist(), strict=True)]
    return Table(["true \\ predicted", *names], rows)


def confused(run: RunData, most: int = 10) -> Table:
    """Return the most frequent confusions of the shown split, most frequent first."""
    counts, rows = confusion_counts(run), []
    if counts is not None:
        names, totals = class_names(run, len(counts)), counts.sum(axis=1)
        for true, guess in largest_errors(counts, most):
            if true != guess and (images := counts[true, guess]) > 0:
                fraction = percent(float(images / totals[true]), 1)
                rows.append((names[true], names[guess], int(images), fraction))
    return Table(("true class", "predicted as", "images", "of the true class"), rows)


def accuracies(run: RunData) -> list[Fact]:
    """Return the test and validation accuracy with interval, n and data; what exists of them."""
    facts = []
    for name, spoken in SPOKEN.items():
        split = run.split(name)
        if split:
            note = f"95 % interval {interval(split.get('interval'))}, n = {count(split.get('n'))}"
            value = percent(split.get("accuracy"))
            facts.append(Fact(f"{spoken.capitalize()} accuracy", value, note))
    if not run.finished and run.lines:
        values = run.curve("val", "accuracy")
        if not np.isnan(values[-1]):
            note = f"after epoch {run.last_epoch}; no interval before the run's end"
            facts.append(Fact("Validation accuracy so far", percent(float(values[-1])), note))
    return facts


def facts(run: RunData) -> list[Fact]:
    """Return the rest of the headline."""
    cost, device = run.result.get("cost"), run.provenance.get("device")
    spent = dig(cost, "train_seconds")
    if spent is None and run.lines:
        spent = float(np.nansum(run.curve("cost", "train_seconds")))
    speed = dig(cost, "images_per_second") or dig(
        run.lines[-1:] and run.lines[-1], "cost", "images_per_second"
    )
    rows = [
        Fact("Epochs", count(run.result.get("epochs") or run.last_epoch)),
        Fact("Best epoch", _best(run)),
        Fact("Measured on", _evaluated(run)),
        Fact("Parameters", count(run.result.get("parameters"))),
        Fact("Training time", seconds(spent)),
        Fact("Speed", f"{count(speed)} images/s" if number(speed) is not None else NOTHING),
        Fact("Peak memory", memory(dig(cost, "peak_memory_bytes"))),
        Fact("Device", plain(dig(device, "name") if isinstance(device, dict) else device)),
        Fact("Precision", plain(run.provenance.get("precision"))),
        Fact("Seed", str(run.recipe.seed)),
    ]
    return [row for row in rows if row.value != NOTHING]


def notes(run: RunData) -> list[str]:
    """Return what must be known beside the numbers: the run's own notes, and what it lacks."""
    values = run.result.get("notes")
    messages = [str(note) for note in values] if isinstance(values, list) else []
    if run.early_end:
        messages.append(f"This run was {run.early_end}: its recipe alone gives another result.")
    if run.finished and not run.split("test"):
        messages.append("This run has no test result.")
    if run.finished and not run.split("val"):
        messages.append("This run held no validation images out.")
    return [*messages, *([run.problem] if run.problem else [])]


def _best(run: RunData) -> str:
    if run.best is None:
        return NOTHING
    epoch, accuracy = run.best
    metric = run.recipe.evaluation.metric
    by = "" if metric.name == "accuracy" else f"best {metric.facts.title}; "
    return f"{epoch} ({by}validation {percent(accuracy)}, {run.data_name})"


def _evaluated(run: RunData) -> str:
    evaluated = run.result.get("evaluated")
    if not isinstance(evaluated, dict):
        return NOTHING
    views, threshold = evaluated.get("tta_views", 1), number(evaluated.get("tta_threshold"))
    return (
        f"{plain(evaluated.get('checkpoint'))} checkpoint, epoch {plain(evaluated.get('epoch'))}, "
        f"{plain(views)} view{'' if views == 1 else 's'}"
        + (f" of images below a confidence of {threshold:.3f}" if threshold else "")
    )
