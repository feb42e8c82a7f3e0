"""Tables of text, and the notes and the provenance of a run; the templates lay them out."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from cifarlab.plots.run import class_names, confusion_counts, largest_errors
from cifarlab.plots.spec import MANY
from cifarlab.recipes.catalog import find_shipped
from cifarlab.run_folder.run_data import RunData, as_rows, dig
from cifarlab.system.formatting import NOTHING, number, pair, percent, points, to_line

_TITLES = {"starts": "Starts", "test_openings": "Openings of the test split"}
_NUMBER = re.compile("(?:[0-9.,+\\-–—%<> \u00a0]|\u00a0(?:ms|s|min|h|MiB|GiB)\\b| to )*")


class Table(NamedTuple):
    """Columns, and rows of one cell per column; cells are escaped unless they are Markup."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @property
    def numbers(self) -> list[bool]:
        """Whether each column of a table with rows holds only numbers: these are right-aligned."""
        columns = zip(*self.rows, strict=True)
        return [all(_NUMBER.fullmatch(str(cell)) for cell in cells) for cells in columns]


def build_table(rows: Any, *columns: Any) -> Table:
    """Return a table of a list of mappings, or of a mapping of names to values.

    A column is (title, a function or a format that makes the value text, the keys to the value).
    What is no such list or mapping, as in a damaged file, gives no rows.
    """
    if isinstance(rows, dict):
        rows = [{"name": name, "value": value} for name, value in rows.items()]
    cells = [[_write(dig(row, *keys), form) for _, form, *keys in columns] for row in as_rows(rows)]
    return Table([title for title, *_ in columns], cells)


def _write(value: Any, form: Callable[[Any], str] | str) -> str:
    if callable(form):
        return form(value)
    return NOTHING if number(value) is None else format(value, form)


def format_gain(bounds: Any) -> str:
    """Return the interval of a difference of fractions as text, in points."""
    low, high = pair(bounds)
    return NOTHING if low is None or high is None else f"{points(low)} to {points(high)}"


def as_list(values: Any) -> list[Any]:
    """Return a value that should be a list, an empty one where it is none."""
    return values if isinstance(values, list) else []


def confusion_table(run: RunData) -> Table | None:
    """Return the confusion matrix as counts; None where it is too large for a table."""
    matrix = confusion_counts(run)
    if matrix is None or len(matrix) > MANY:
        return None
    names = class_names(run, len(matrix))
    rows = [(name, *row) for name, row in zip(names, matrix.tolist(), strict=True)]
    return Table(["true \\ predicted", *names], rows)


def confused_pairs(run: RunData, most: int = 10) -> Table:
    """Return the most frequent confusions of the run's ``split_name``, most frequent first."""
    counts, rows = confusion_counts(run), []
    if counts is not None:
        names, totals = class_names(run, len(counts)), counts.sum(axis=1)
        for true, guess in largest_errors(counts, most):
            if true != guess and (images := int(counts[true, guess])) > 0:
                fraction = percent(images / int(totals[true]), 1)
                rows.append((names[true], names[guess], images, fraction))
    return Table(("true class", "predicted as", "images", "of the true class"), rows)


def prediction_counts(run: RunData, most: int = 20) -> Table:
    """Return how often each class is true and how often it is predicted, over-predicted ones first.

    With the accuracy of each class that the recipe's report gives, where it gives them. Of more
    classes than ``most``, those that are most over- and under-predicted.
    """
    counts, columns = confusion_counts(run), ["class", "images", "predicted", "ratio"]
    if counts is None:
        return Table(columns, [])
    names, true, predicted = class_names(run, len(counts)), counts.sum(1), counts.sum(0)
    order = np.argsort(true - predicted, kind="stable").tolist()
    order = order if len(order) <= most else [*order[: most // 2], *order[-most // 2 :]]
    rows = [[names[k], f"{true[k]:,}", f"{predicted[k]:,}"] for k in order]
    for row, k in zip(rows, order, strict=True):
        row.append(f"{predicted[k] / true[k]:.2f}" if true[k] else NOTHING)
    if theirs := _reported(run, "classes"):
        columns += ["accuracy", "reported"]
        for row, k in zip(rows, order, strict=True):
            row += [percent(counts[k, k] / true[k] if true[k] else None, 1)]
            row += [f"{theirs[names[k]]:.1f} %" if names[k] in theirs else NOTHING]
    return Table(columns, rows)


def reported_confusion(run: RunData) -> Table | None:
    """Return the confusion matrix that the recipe's report gives, None where it gives none."""
    matrix = _reported(run, "confusion_matrix")
    names = class_names(run, len(matrix or ()))
    rows = [(name, *row) for name, row in zip(names, matrix, strict=True)] if matrix else []
    return Table(["true \\ predicted", *names], rows) if matrix else None


def _reported(run: RunData, what: str) -> Any:
    """What the report of a shipped recipe gives, for a run of it on the report's images."""
    shipped = find_shipped(run.recipe_name)
    number = shipped and shipped.reported
    return getattr(number, what) if number and number.data == run.data_name else None


def training_seconds(run: RunData) -> Any:
    """Return how many seconds a run trained; of an unfinished one, so far."""
    so_far = float(np.nansum(run.curve("cost", "train_seconds"))) if run.lines else None
    return dig(run.result, "cost", "train_seconds") or so_far


def run_notes(run: RunData) -> list[Any]:
    """Return warnings on a run's numbers: its result's notes, and results that it lacks."""
    messages = [*as_list(run.result.get("notes"))]
    if run.early_end:
        messages.append(f"This run was {run.early_end}: its recipe alone gives another result.")
    lacks = {"test": "has no test result", "val": "held no validation images out"}
    if run.is_finished:
        messages += [f"This run {text}." for split, text in lacks.items() if not run.split(split)]
    return [*messages, run.problem] if run.problem else messages


def provenance_table(run: RunData) -> Table:
    """Return all of provenance.json but its logs, as rows of (what, value) in the file's order."""
    rows: list[tuple[str, str]] = []
    for key, value in run.provenance.items():
        if _is_log(value) or key in _TITLES:
            continue
        if isinstance(value, dict) and key != "libraries":
            rows += [(f"{_to_words(key)}: {_to_words(k)}", to_line(v)) for k, v in value.items()]
        else:
            rows.append((_to_words(key), to_line(value)))
    if fingerprint := run.result.get("fingerprint"):
        rows.append(("recipe fingerprint", to_line(fingerprint)))
    return Table(("", ""), rows)


def provenance_logs(run: RunData) -> Iterator[tuple[str, Table, str]]:
    """Yield each list of records in provenance.json: title, table, a note where it is empty.

    A column is left out where all records have the value of provenance.json itself, as versions.
    """
    provenance = run.provenance
    records_by_key = {key: value for key, value in provenance.items() if _is_log(value)}
    for key in dict.fromkeys([*_TITLES, *records_by_key]):
        records = records_by_key.get(key, [])
        columns = [
            name
            for name in dict.fromkeys(name for record in records for name in record)
            if name not in provenance or any(r.get(name) != provenance[name] for r in records)
        ]
        rows = [[to_line(record.get(name)) for name in columns] for record in records]
        none = "none: the test split was not opened" if key == "test_openings" else "none"
        table = Table([_to_words(name) for name in columns], rows)
        yield _TITLES.get(key, _to_words(key)), table, none if key in provenance else "not recorded"


def _is_log(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _to_words(key: Any) -> str:
    return str(key).replace("_", " ")
