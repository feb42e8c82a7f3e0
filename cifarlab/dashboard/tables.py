"""The list of runs as the rows of a table: of runs, or of recipes with means over seeds."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cifarlab.dashboard.urls import folder_url, page_url
from cifarlab.report.groups import RecipeGroup, group_by_recipe, rank, summarize
from cifarlab.run_folder.index import Entry
from cifarlab.system.formatting import NOTHING, count, interval, seconds
from cifarlab.system.terminal import format_duration

TableRow = dict[str, Any]


def _format_percent(fraction: float | None) -> str:
    return NOTHING if fraction is None else f"{100 * fraction:.2f}"


def _format_duration(time: float | None) -> str:
    """Return a duration as short text, so that all columns fit the page."""
    return seconds(time) if time is None or time < 60 else format_duration(time)


def _format_time(time: float) -> str:
    """Return the time of day for today, else the date, so that all columns fit the page."""
    date, today = datetime.fromtimestamp(time), datetime.now()
    return date.strftime("%H:%M" if date.date() == today.date() else "%Y-%m-%d")


class Column(NamedTuple):
    """A column; ``format_value`` returns a value's text. Narrow screens hide class ``wide``."""

    name: str
    title: str
    format_value: Callable[[Any], str] = str
    classes: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The column's definition for Quasar: it sorts by value and shows the text."""
        return {
            "name": self.name,
            "field": self.name,
            "label": self.title,
            "sortable": True,
            "align": "left" if self.format_value is str else "right",
            ":format": f"(value, row) => row.texts.{self.name}",
            "classes": self.classes,
            "headerClasses": self.classes,
        }


RUN_COLUMNS = (
    Column("run", "run", classes="name"),
    Column("state", "state"),
    Column("test", "test %", _format_percent),
    Column("val", "validation %", _format_percent),
    Column("recipe", "recipe", classes="wide"),
    Column("seed", "seed", count),
    Column("data", "data", classes="wide"),
    Column("epochs", "epochs", count),
    Column("seconds", "training", _format_duration),
    Column("parameters", "parameters", count, "wide"),
    Column("last_modified", "last written", _format_time),
)
# of an entry; its facts, many as they are, stay here
_ENTRY_FIELDS = ("url_path", "group", *(c.name for c in RUN_COLUMNS[2:]))
RECIPE_COLUMNS = (
    Column("recipe", "recipe", classes="name"),
    Column("n", "seeds", count),
    Column("test", "test %", _format_percent),
    Column("test_std", "std", _format_percent),
    Column("test_min", "least", _format_percent),
    Column("test_max", "most", _format_percent),
    Column("val", "validation %", _format_percent),
    Column("val_std", "std", _format_percent, "wide"),
    Column("data", "data"),
    Column("n_left_out", "left out", count),
    Column("seconds", "training", _format_duration, "wide"),
)


def _row(columns: Sequence[Column], values: TableRow) -> TableRow:
    texts = {column.name: column.format_value(values[column.name]) for column in columns}
    return {"titles": {}, **values, "texts": texts}


def run_rows(entries: Iterable[Entry], now: float) -> list[TableRow]:
    """Return one row per run, the last modified first; an unknown value is None."""
    rows = []
    for entry in sorted(entries, key=lambda entry: -entry.last_modified):
        titles = {
            "run": entry.url_path,
            "state": entry.problem or entry.note or entry.early_end,
            "test": "" if entry.test is None else f"95 % interval {interval(entry.interval)}",
            "last_modified": f"{datetime.fromtimestamp(entry.last_modified):%Y-%m-%d %H:%M:%S}",
        }
        values = {"run": entry.name or "(this folder)", "state": entry.state(now)}
        links = {"run": folder_url("run", entry.url_path)}
        fields = {name: getattr(entry, name) for name in _ENTRY_FIELDS}
        rows.append(_row(RUN_COLUMNS, fields | values | {"titles": titles, "links": links}))
    return rows


def recipe_rows(entries: Iterable[Entry], names: Mapping[str, str]) -> list[TableRow]:
    """Return one row per recipe and images: mean, std and range of its finished runs.

    ``names`` are those of the groups. The column ``n`` counts seeds: of several finished runs with
    one seed, which repeat the same random draws, the one that started first counts. All others
    count as left out.
    """
    rows = [_recipe_row(group, names[group.key]) for group in group_by_recipe(entries)]
    return sorted(rows, key=lambda row: rank(row["test"], row["val"], row["recipe"]))


def _recipe_row(group: RecipeGroup, name: str) -> TableRow:
    test, val = (summarize(getattr(run, split) for run in group.seeds) for split in ("test", "val"))
    times = [run.seconds for run in group.seeds if run.seconds is not None]
    values = {
        "group": group.key,
        "recipe": name,
        "data": group.members[0].data,
        "n": len(group.seeds),
        "n_left_out": group.n_left_out,
        "test": test and test.mean,
        "test_std": test and test.std,
        "test_min": test and test.low,
        "test_max": test and test.high,
        "val": val and val.mean,
        "val_std": val and val.std,
        "seconds": statistics.median(times) if times else None,
        "runs": len(group.members),
        "links": {"recipe": page_url("/", group=group.key)},
    }
    return _row(RECIPE_COLUMNS, values)
