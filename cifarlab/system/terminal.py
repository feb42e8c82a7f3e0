"""What the terminal shows: the console, tables, numbers with their units."""

import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from cifarlab.system import formatting

if TYPE_CHECKING:
    from rich.console import Console

    console: Console

_MAX_FITTED_ROWS = 200


def __getattr__(name: str) -> Any:
    """Return the ``console``, for which Rich is imported when it is first used."""
    if name != "console":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _make_console()


@cache
def _make_console() -> "Console":
    from rich.console import Console

    # a pipe or a file has no width to wrap at
    width = None if sys.stdout.isatty() else 200
    return Console(highlight=False, markup=False, soft_wrap=True, width=width)


def as_percent(fraction: float) -> str:
    """Return a fraction in per cent, with a plain space."""
    return formatting.plain_spaces(formatting.percent(fraction))


def format_duration(seconds: float) -> str:
    """Return a length of time in one unit, to two digits: ``3.2 h``, ``12 min``, ``40 s``."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{float(f'{seconds / length:.2g}'):g} {unit}"
    return f"{seconds:.0f} s"


def print_table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table without lines; text in brackets is not markup.

    A long one is not fitted to the terminal's width, which takes half a millisecond a row.
    """
    if len(rows) > _MAX_FITTED_ROWS:
        cells = [[" ".join(cell.splitlines()) for cell in row] for row in (headers, *rows)]
        columns = [_pad(column) for column in zip(*cells, strict=True)]
        lines = ("  ".join(row).rstrip() for row in zip(*columns, strict=True))
        sys.stdout.write("\n".join(lines) + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _make_console().print(table)


def _pad(column: Sequence[str]) -> Sequence[str]:
    """Return the cells of a column with spaces up to the widest."""
    if all(map(str.isascii, column)):
        width = max(map(len, column))
        return [cell.ljust(width) for cell in column]
    from rich.cells import cell_len, set_cell_size

    width = max(map(cell_len, column))
    return [set_cell_size(cell, width) for cell in column]
