"""What a study's table may say of each row beside its metric: a mean over the row's seeds.

A column is measured on each run by itself, of the epochs in its metrics log and of the split that
is compared. What a run cannot say (epochs to a level without validation images) is left empty.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from cifarlab.evaluation.groups import known_groups
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.catalog import Reported
from cifarlab.run_folder.run_data import RunData, as_rows, dig
from cifarlab.system.formatting import NOTHING, number

Column = Literal[
    "train_accuracy", "gap", "epochs_to_level", "best_epoch", "final_std", "train_seconds",
    "classes", "groups",
]  # fmt: skip
LAST_EPOCHS = 10  # over which final_std is
# how a value is written, by the beginning of its column's name
_COUNTS = ("epochs to", "best epoch")
_SECONDS = "seconds"
_NEVER = np.inf  # epochs of a run to a level that it does not reach


class Value(NamedTuple):
    """What a row has in a column: its mean over the seeds, and the report's number, if any.

    ``n_missing`` of its ``n`` runs never reach the column's level: they are in no mean.
    """

    heading: str
    mean: float | None
    reported: float | None = None
    n: int = 0
    n_missing: int = 0


def measure_columns(
    columns: Sequence[Column], level: float, split: str, metric: MetricFacts, run: RunData
) -> dict[str, float | None]:
    """Return what a run says in each column, by the column's heading.

    Args:
        columns: the study's
        level: the validation accuracy that ``epochs_to_level`` is about, 0..1
        split: ``test`` or ``val``, whose accuracy is compared
        metric: the study's, by which ``best_epoch`` is the best on validation images
        run: a finished run
    """
    values: dict[str, float | None] = {}
    for column in columns:
        if column == "classes":
            values |= _class_accuracies(run, split)
        elif column == "groups":
            values |= _group_accuracies(_class_accuracies(run, split))
        else:
            heading, value = _measure(column, level, split, metric, run)
            values[heading] = None if value is None or np.isnan(value) else float(value)
    return values


def _measure(
    column: Column, level: float, split: str, metric: MetricFacts, run: RunData
) -> tuple[str, float | None]:
    val, train = run.curve("val", "accuracy"), run.curve("train", "accuracy")
    epoch = dig(run.result, "evaluated", "epoch")
    index = run.epochs.tolist().index(epoch) if epoch in run.epochs else -1
    accuracy = number(run.split(split).get("accuracy"))
    match column:
        case "train_accuracy":
            return "training accuracy", train[index]
        case "gap":
            return "gap", None if accuracy is None else train[index] - accuracy
        case "epochs_to_level":
            never = None if np.isnan(val).all() else _NEVER
            return f"epochs to {100 * level:g} %", next(iter(run.epochs[val >= level]), never)
        case "best_epoch":
            return "best epoch", (best := run.best_by(metric)) and best[0]
        case "final_std":
            spread = val[-LAST_EPOCHS:].std(ddof=1) if len(val) > 1 else None
            return f"std of the last {LAST_EPOCHS} epochs", spread
    return _SECONDS, number(dig(run.result, "cost", "train_seconds"))


def _class_accuracies(run: RunData, split: str) -> dict[str, float | None]:
    rows = as_rows(run.split(split).get("per_class"))
    return {str(row.get("class")): number(row.get("accuracy")) for row in rows}


def _group_accuracies(accuracies: Mapping[str, float | None]) -> dict[str, float | None]:
    """The mean accuracy of the classes of each known group."""
    groups = known_groups(list(accuracies)) or {}
    return {f"group {name}": group_mean(accuracies, classes) for name, classes in groups.items()}


def group_mean(accuracies: Mapping[str, float | None], members: Sequence[str]) -> float | None:
    """Return the mean accuracy of some classes, None where one of them has none."""
    values = [value for name in members if (value := accuracies.get(name)) is not None]
    return float(np.mean(values)) if len(values) == len(members) else None


def summarize_columns(
    runs: Sequence[Mapping[str, float | None]], reported: Reported | None
) -> tuple[Value, ...]:
    """Return each column's mean over the runs of a row that have it, and the report's number."""
    theirs: dict[str, float | None] = {}
    if reported and reported.classes:
        theirs = {name: value / 100 for name, value in reported.classes.items()}
        theirs |= _group_accuracies(theirs)
    values = []
    for heading in dict.fromkeys(name for run in runs for name in run):
        each = [value for run in runs if (value := run.get(heading)) is not None]
        finite = [value for value in each if value != _NEVER]
        mean = float(np.mean(finite)) if finite else None
        values.append(Value(heading, mean, theirs.get(heading), len(each), each.count(_NEVER)))
    return tuple(values)


def format_value(value: Value | None) -> str:
    """Return a value as text: a count of epochs, seconds, or per cent; the report's in brackets.

    A mean that lacks runs says of how many it is.
    """
    if value and value.n_missing:
        mean = NOTHING if value.mean is None else f"{value.mean:.1f}"
        return f"{mean} ({value.n - value.n_missing} of {value.n})"
    if value is None or value.mean is None:
        return NOTHING
    if value.heading.startswith(_COUNTS):
        return f"{value.mean:.1f}"
    if value.heading == _SECONDS:
        return f"{value.mean:.{1 if value.mean < 100 else 0}f}"
    reported = "" if value.reported is None else f" ({100 * value.reported:.1f})"
    return f"{100 * value.mean:.2f}{reported}"
