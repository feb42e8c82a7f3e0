"""The list of a folder's runs, as values and as text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from cifarlab.run_folder.selection import Selection
from cifarlab.system.formatting import TextTable, count, percent, plain_spaces, seconds, to_line

Row = Mapping[str, Any]
_FIELDS = ("run", "state", "test", "val", "recipe", "seed", "data", "epochs", "seconds")
_FURTHER_FIELDS = ("parameters", "openings", "last_modified", "group")


def list_runs(selection: Selection, columns: Sequence[str] = ()) -> list[Row]:
    """Return a row of plain values for each run, with further keys as ``columns``."""
    keys = (*_FIELDS, *_FURTHER_FIELDS, *columns)
    return [{key: selection.value(run, key) for key in keys} for run in selection.runs]


def run_table(rows: Sequence[Row], columns: Sequence[str] = ()) -> TextTable:
    """Return headers and cells of the rows of ``list_runs``."""
    formats: dict[str, Callable[[Any], str]] = {
        "test": _points,
        "val": _points,
        "seed": count,
        "epochs": count,
        "seconds": lambda value: plain_spaces(seconds(value)),
        "last_modified": lambda value: f"{datetime.fromtimestamp(value):%Y-%m-%d %H:%M}",
    }
    headers = ("run", "state", "test %", "val %", *_FIELDS[4:], *columns, "last written")
    texts = [  # column by column: thousands of rows are formatted in half the time
        map(formats.get(key, to_line), [row[key] for row in rows])
        for key in (*_FIELDS, *columns, "last_modified")
    ]
    return headers, [*zip(*texts, strict=True)]


def _points(fraction: Any) -> str:
    return percent(fraction).removesuffix("\u00a0%")


def parse_columns(text: str | None) -> list[str]:
    """Return the keys in a list with commas, each once."""
    names: Iterable[str] = (name.strip() for name in (text or "").split(","))
    return list(dict.fromkeys(name for name in names if name))
