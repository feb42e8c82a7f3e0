"""A run's headline and what happened by class, as rows of text; the page only lays them out."""

from typing import Any, NamedTuple

import numpy as np

from cifarlab.run_folder.run_data import SPOKEN, RunData, dig
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


class Fact(NamedTuple):
    """One line of a headline."""

    label: str
    value: str
    note: str = ""


class Pair(NamedTuple):
    """How often one class was taken for another."""

    true: str
    predicted: str
    images: int
    fraction: str


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


def class_rows(run: RunData) -> list[dict[str, Any]]:
    """Return the shown split's result by class, as it was written."""
    rows = run.split(run.split_name).get("per_class")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def confusion_of(run: RunData) -> np.ndarray | None:
    """Return the shown split's confusion matrix, int64 (K, K), rows true; None if not square."""
    table = run.split(run.split_name).get("confusion_matrix")
    try:
        counts = np.array(table, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and counts.size
    return counts if square else None


def class_names(run: RunData, k: int) -> list[str]:
    """Return K class names: of the result, else of the provenance, else their numbers."""
    from_provenance = dig(run.provenance, "data", "classes")
    for names in ([row.get("class") for row in class_rows(run)], from_provenance):
        if isinstance(names, list) and len(names) == k:
            return [str(name) for name in names]
    return [str(number) for number in range(k)]


MOST_DRAWN = 200  # classes; of more, a matrix shows those that are confused most often
_CONFUSED = 30  # of them: so many have room for their names


def drawn_classes(counts: np.ndarray) -> np.ndarray:
    """Return the numbers of the classes that a drawn matrix shows of counts (K, K), rising.

    All where they are few enough, else those of the most frequent confusions: a matrix of 1,000
    classes shows nothing and takes gigabytes.
    """
    k = len(counts)
    if k <= MOST_DRAWN:
        return np.arange(k)
    errors = counts - np.diag(np.diag(counts))
    # so many pairs hold at least as many classes as are wanted
    order = np.argsort(-errors, axis=None, kind="stable")[: _CONFUSED**2]
    ends = np.stack(np.divmod(order, k), 1).ravel().tolist()
    return np.sort(list(dict.fromkeys(ends))[:_CONFUSED])


def drawn_note(counts: np.ndarray) -> str:
    """Return a sentence on the classes that a drawn matrix leaves out; empty where it has all."""
    drawn, k = len(drawn_classes(counts)), len(counts)
    if drawn == k:
        return ""
    return (
        f"Of {k:,} classes, the {drawn} of the most frequent confusions are shown; the rest of "
        "a row went to the others."
    )


def confused(run: RunData, most: int = 10) -> list[Pair]:
    """Return the most frequent confusions of the shown split, most frequent first."""
    counts = confusion_of(run)
    if counts is None:
        return []
    names, totals = class_names(run, len(counts)), counts.sum(axis=1)
    errors = counts - np.diag(np.diag(counts))
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    cells = [divmod(int(flat), len(counts)) for flat in order]
    return [
        Pair(names[t], names[p], int(errors[t, p]), percent(errors[t, p] / totals[t], 1))
        for t, p in cells
        if errors[t, p] > 0
    ]
