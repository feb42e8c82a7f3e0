"""Numbers as a reader wants them; whatever is no number becomes a dash."""

import csv
import io
import math
from collections.abc import Iterable
from typing import Any

NOTHING = "—"
_SPACE = "\u00a0"  # a number and its unit stay on one line


def rows_to_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows, the first of which is the header, as CSV; None is an empty cell."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def number(value: Any) -> float | None:
    """Return ``value`` as a finite float, or None: a report invents nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def percent(fraction: Any, digits: int = 2) -> str:
    """Return a fraction in per cent: 0.861 as ``86.10 %``."""
    value = number(fraction)
    return NOTHING if value is None else f"{100 * value:.{digits}f}{_SPACE}%"


def interval(bounds: Any) -> str:
    """Return an interval in per cent: [0.854, 0.868] as ``85.40–86.80 %``."""
    low, high = pair(bounds)
    if low is None or high is None:
        return NOTHING
    return f"{100 * low:.2f}–{100 * high:.2f}{_SPACE}%"


def points(fraction: Any) -> str:
    """Return a difference of fractions in points, with its sign."""
    value = number(fraction)
    return NOTHING if value is None else f"{100 * value:+.2f}"


def p_value(p: Any) -> str:
    """Return a p value with two digits."""
    value = number(p)
    return NOTHING if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def pair(bounds: Any) -> tuple[float | None, float | None]:
    """Return the two ends of an interval, None where they are absent."""
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        return None, None
    return number(bounds[0]), number(bounds[1])


def count(value: Any) -> str:
    """Return a count with commas: 4903242 as ``4,903,242``."""
    integer = number(value)
    return NOTHING if integer is None else f"{integer:,.0f}"


def seconds(value: Any) -> str:
    """Return a time in at most two units: ``7 ms``, ``42.3 s``, ``12 min 3 s``, ``3 h 12 min``."""
    time = number(value)
    if time is None:
        return NOTHING
    if 0 < time < 0.0995:
        return f"{1000 * time:.0f}{_SPACE}ms"
    if time < 59.95:
        return f"{time:.1f}{_SPACE}s"
    minutes, rest = divmod(round(time), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min {rest}{_SPACE}s"
    return f"{minutes // 60}{_SPACE}h {minutes % 60}{_SPACE}min"


def memory(value: Any) -> str:
    """Return bytes as ``512 MiB`` or ``1.37 GiB``."""
    size = number(value)
    if size is None:
        return NOTHING
    mebibytes = size / 2**20
    if mebibytes < 1024:
        return f"{mebibytes:.0f}{_SPACE}MiB"
    return f"{mebibytes / 1024:.2f}{_SPACE}GiB"


def plain_spaces(text: str) -> str:
    """Return a text for a terminal, where each space is a plain one."""
    return text.replace(_SPACE, " ")


def to_line(value: Any) -> str:
    """Return any JSON value in one line: lists by commas, mappings as ``key value``."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {to_line(inner)}" for key, inner in value.items()) or NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(to_line(inner) for inner in value) or NOTHING
    return str(value)
