"""The list of runs as rows of a table: each run, or each recipe with its mean over seeds."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cifarlab.dashboard.index import Entry
from cifarlab.dashboard.urls import folder_url, page_url
from cifarlab.system.formatting import NOTHING, count, interval, seconds
from cifarlab.system.terminal import format_duration

TableRow = dict[str, Any]


def _percent(fraction: float | None) -> str:
    return NOTHING if fraction is None else f"{100 * fraction:.2f}"


def _duration(time: float | None) -> str:
    """Return a time in two digits, so that all columns fit, or up to a minute as elsewhere."""
    return seconds(time) if time is None or time < 60 else format_duration(time)


def _when(time: float) -> str:
    """Return the time of today's, the date of others: so that all columns fit."""
    date, today = datetime.fromtimestamp(time), datetime.now()
    return date.strftime("%H:%M" if date.date() == today.date() else "%Y-%m-%d")


class Column(NamedTuple):
    """A column; ``write`` makes a value a text. A ``wide`` one is hidden on narrow screens."""

    name: str
    title: str
    write: Callable[[Any], str] = str
    classes: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The column as Quasar has it: sorted by value, shown as text."""
        return {
            "name": self.name,
            "field": self.name,
            "label": self.title,
            "sortable": True,
            "align": "left" if self.write is str else "right",
            ":format": f"(value, row) => row.texts.{self.name}",
            "classes": self.classes,
            "headerClasses": self.classes,
        }


OF_RUNS = (
    Column("run", "run", classes="name"),
    Column("state", "state"),
    Column("test", "test %", _percent),
    Column("val", "validation %", _percent),
    Column("recipe", "recipe", classes="wide"),
    Column("seed", "seed", count),
    Column("data", "data", classes="wide"),
    Column("epochs", "epochs", count),
    Column("seconds", "training", _duration),
    Column("parameters", "parameters", count, "wide"),
    Column("last_modified", "last written", _when),
)
OF_RECIPES = (
    Column("recipe", "recipe", classes="name"),
    Column("n", "seeds", count),
    Column("test", "test %", _percent),
    Column("spread", "std", _percent),
    Column("least", "least", _percent),
    Column("most", "most", _percent),
    Column("val", "validation %", _percent),
    Column("val_spread", "std", _percent, "wide"),
    Column("data", "data"),
    Column("open", "left out", count),
    Column("seconds", "training", _duration, "wide"),
)


def _row(columns: Sequence[Column], values: TableRow) -> TableRow:
    texts = {column.name: column.write(values[column.name]) for column in columns}
    return {"titles": {}, **values, "texts": texts}


def run_rows(entries: Iterable[Entry], now: float) -> list[TableRow]:
    """Return one row per run, the newest first; what is not known is None."""
    rows = []
    for entry in sorted(entries, key=lambda entry: -entry.last_modified):
        titles = {
            "run": entry.url_path,
            "state": entry.problem or entry.note or entry.early,
            "test": "" if entry.test is None else f"95 % interval {interval(entry.interval)}",
            "last_modified": f"{datetime.fromtimestamp(entry.last_modified):%Y-%m-%d %H:%M:%S}",
        }
        named = {"run": entry.name or "(this folder)", "state": entry.state(now)}
        links = {"run": folder_url("run", entry.url_path)}
        rows.append(_row(OF_RUNS, vars(entry) | named | {"titles": titles, "links": links}))
    return rows


def recipe_rows(entries: Iterable[Entry], names: Mapping[str, str]) -> list[TableRow]:
    """Return one row per recipe and images: its finished runs' mean, std and range.

    ``names`` are the groups'. ``n`` counts seeds: of several finished runs with one seed, which are
    repeats of the same draws, the first counts. Runs that did not come to their recipe's end are
    counted apart.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.problem:
            groups.setdefault(entry.group, []).append(entry)
    rows = [_recipe_row(key, names[key], members) for key, members in groups.items()]
    return sorted(rows, key=lambda row: (-(row["test"] or row["val"] or 0), row["recipe"]))


def _recipe_row(key: str, name: str, members: Sequence[Entry]) -> TableRow:
    by_seed: dict[int | None, Entry] = {}
    for entry in members:
        if entry.finished and not entry.early:
            by_seed.setdefault(entry.seed, entry)

    def known(field: str) -> list[float]:
        values = [getattr(entry, field) for entry in by_seed.values()]
        return [value for value in values if value is not None]

    tests, vals, times = known("test"), known("val"), known("seconds")
    values = {
        "group": key,
        "recipe": name,
        "data": members[0].data,
        "n": len(by_seed),
        "open": sum(not entry.finished or bool(entry.early) for entry in members),
        "test": statistics.fmean(tests) if tests else None,
        "spread": _std(tests),
        "least": min(tests, default=None),
        "most": max(tests, default=None),
        "val": statistics.fmean(vals) if vals else None,
        "val_spread": _std(vals),
        "seconds": statistics.median(times) if times else None,
        "runs": len(members),
        "links": {"recipe": page_url("/", group=key)},
    }
    return _row(OF_RECIPES, values)


def _std(accuracies: Sequence[float]) -> float | None:
    """Return the sample standard deviation; none of a single run."""
    return statistics.stdev(accuracies) if len(accuracies) > 1 else None
