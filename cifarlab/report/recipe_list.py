"""The list of the recipes of a folder's runs, with means over seeds, as values and as text."""

from collections.abc import Callable, Sequence
from typing import Any

from cifarlab.report.groups import (
    RecipeGroup,
    SeedSummary,
    group_by_recipe,
    name_groups,
    rank,
    summarize,
)
from cifarlab.report.run_list import Row
from cifarlab.run_folder.index import Entry
from cifarlab.run_folder.selection import Selection, sort_by
from cifarlab.system.formatting import NOTHING, TextTable, number, to_line

_SPLITS = ("test", "val")


def list_recipes(
    selection: Selection, columns: Sequence[str] = (), sort: str | None = None
) -> list[Row]:
    """Return a row of plain values for each recipe.

    A number has n, mean, std and range over the seeds that count, any other value of a column is
    that of all of them, or null.

    Args:
        selection: the runs
        columns: further keys
        sort: the key by whose mean they are sorted, with a minus before it the largest first; the
            best test accuracy first without it
    """
    names = name_groups(selection.runs_index, selection.runs)
    groups = group_by_recipe(selection.runs)
    if sort is not None:
        key = sort.removeprefix("-")
        means = {group.key: _mean(_pool_key(group, key, selection.value)) for group in groups}
        groups = sort_by(sort, groups, lambda group: means[group.key])
    rows = [_recipe_row(group, names[group.key], selection.value, columns) for group in groups]
    if sort is None:
        rows.sort(key=lambda row: rank(_mean(row["test"]), _mean(row["val"]), row["recipe"]))
    return rows


def _recipe_row(
    group: RecipeGroup, name: str, value: Callable[[Entry, str], Any], columns: Sequence[str]
) -> Row:
    return {
        "recipe": name,
        "n": len(group.seeds),
        **{key: _pool_key(group, key, value) for key in (*_SPLITS, *columns)},
        "data": group.members[0].data,
        "n_left_out": group.n_left_out,
        "group": group.key,
    }


def _pool_key(group: RecipeGroup, key: str, value: Callable[[Entry, str], Any]) -> Any:
    """Return the summary of the seeds' numbers, or the value that all have."""
    values = [value(run, key) for run in group.seeds]
    if any(number(value) is not None for value in values):
        summary = summarize(map(number, values))
        return summary and summary._asdict()
    return values[0] if values and all(value == values[0] for value in values) else None


def recipe_table(rows: Sequence[Row], columns: Sequence[str] = ()) -> TextTable:
    """Return headers and cells of the rows of ``list_recipes``."""
    spread = [header for key in columns for header in (key, "std")]
    headers = ("recipe", "n", "test %", "std", "val %", "std", *spread, "data", "left out")
    cells = [
        (
            row["recipe"],
            str(row["n"]),
            *(cell for key in _SPLITS for cell in _mean_and_std(row[key], 100)),
            *(cell for key in columns for cell in _mean_and_std(row[key], 1)),
            row["data"],
            str(row["n_left_out"]),
        )
        for row in rows
    ]
    return headers, cells


def _mean(value: Any) -> Any:
    return value["mean"] if _is_summary(value) else value


def _is_summary(value: Any) -> bool:
    return isinstance(value, dict) and SeedSummary._fields == tuple(value)


def _mean_and_std(value: Any, factor: int) -> tuple[str, str]:
    if not _is_summary(value):
        return to_line(value), ""
    form = ".2f" if factor == 100 else ".6g"
    texts = (
        NOTHING if v is None else f"{factor * v:{form}}" for v in (value["mean"], value["std"])
    )
    return next(texts), next(texts)
