"""What the terminal shows: the console, tables, numbers with their units."""

import sys
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cifarlab.system import formatting

# a pipe or a file has no width to wrap at
console = Console(
    highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200
)

_MAX_FITTED_ROWS = 200


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
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        lines = ("  ".join(map(set_cell_size, row, widths)).rstrip() for row in cells)
        console.file.write("\n".join(lines) + "\n")
        return
    table = Table(*headers, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
