"""What a figure shows, as plain values: panels of marks on two axes, without any drawing.

Functions of a run return a ``Plot``. ``plots/draw.py`` draws it by Matplotlib, for files, reports
and notebooks; ``dashboard/charts.py`` turns it into ECharts options. NaN is drawn as nothing.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cifarlab.system.errors import UserError

FORMATS = ("svg", "png", "pdf")
# Okabe and Ito's colours: colour-blind readers can tell them apart, and so can a grey print
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, INK, GREY = "#e69f00", "#56b4e9", "#222222", "#7a7a7a"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
NARROW, WIDE = 4.3, 7.4  # inches: one column of a paper's page, and the page
MANY = 12  # cells in a row; with more, a number no longer fits its cell

Values = Sequence[float] | np.ndarray


class Marks(NamedTuple):
    """Points, with a line through them where ``width`` is above 0; ``ends`` (2, n) of error bars.

    Error bars are vertical, ``flat`` ones horizontal.
    """

    x: Values
    y: Values
    label: str = ""
    color: str = BLUE
    width: float = 0.0
    dash: str = "-"
    marker: str = ""
    size: float = 3.5
    markevery: int = 1
    alpha: float = 1.0
    hollow: bool = False
    ends: np.ndarray | None = None
    flat: bool = False
    z: float = 2.0


class Band(NamedTuple):
    """The area between two lines over the same ``x``."""

    x: Values
    low: Values
    high: Values
    color: str = BLUE
    label: str = ""


class Bars(NamedTuple):
    """Bars from 0 to ``lengths`` at ``positions``; ``flat`` bars are horizontal."""

    positions: Values
    lengths: Values
    thickness: float
    color: str = BLUE
    flat: bool = False


class Rule(NamedTuple):
    """A line through the whole panel: vertical at x = ``position``, or horizontal, ``flat``."""

    position: float
    color: str = GREY
    dash: str = "-"
    label: str = ""
    width: float = 0.8
    flat: bool = False


class Matrix(NamedTuple):
    """Values (R, C) as colours between two ``limits``, by a ``scale``: linear, sqrt or log.

    Cells have side 1 and their centers at whole numbers, the first row on top, or they divide the
    ``extent`` (left, right, low, high) evenly. ``texts`` (R, C) stand in the cells; ``bar`` is the
    colour bar's label, empty for no bar; ``tip`` returns a cell's (row, column) tooltip.
    """

    values: np.ndarray
    colors: str
    limits: tuple[float, float]
    scale: str = "linear"
    extent: tuple[float, float, float, float] | None = None
    texts: np.ndarray | None = None
    bold: bool = False
    bar: str = ""
    tip: Callable[[int, int], str] | None = None


class Text(NamedTuple):
    """A short text at a point; ``boxed``: on a white background."""

    x: float
    y: float
    text: str
    size: float = 6.0
    align: str = "left"
    base: str = "bottom"
    color: str = INK
    boxed: bool = False


class Image(NamedTuple):
    """An image uint8 (H, W, C) of side 1 with its upper left corner at a point."""

    x: float
    y: float
    pixels: np.ndarray


class Axis(NamedTuple):
    """One axis of a panel; ``names`` label positions 0, 1, ..., at most ``most_names`` of them."""

    label: str = ""
    limits: tuple[float, float] | None = None
    names: Sequence[str] = ()
    most_names: int = 40
    size: float = 7.5
    rotation: float = 0.0
    integer: bool = False
    ticks: int = 7
    hidden: bool = False


Mark = Marks | Band | Bars | Rule | Matrix | Text | Image


class Panel(NamedTuple):
    """Marks on two axes; ``grid`` is the direction of its lines: x, y, both or none."""

    marks: Sequence[Mark]
    x: Axis = Axis()
    y: Axis = Axis()
    title: str = ""
    grid: str = "y"
    square: bool = False
    background: str = "white"
    frame: bool = True


class Plot(NamedTuple):
    """Panels in rows of ``columns``.

    ``legend`` is best (in the first), below, above, right, or rows (one beside each row of panels).
    """

    panels: Sequence[Panel]
    width: float = NARROW
    height: float = 3.4
    columns: int = 1
    heights: Sequence[float] | None = None
    common_x: bool = False
    common_y: bool = False
    title: str = ""
    xlabel: str = ""
    ylabel: str = ""
    legend: str = ""
    legend_title: str = ""
    legend_columns: int = 1


def add_margin(low: float, high: float, fraction: float = 0.025) -> tuple[float, float]:
    """Return limits a little beyond the data's, so that a mark at the end is drawn in full.

    Args:
        low: the data's lower limit
        high: the data's upper limit
        fraction: the margin, as a fraction of the range
    """
    margin = fraction * (high - low)
    return low - margin, high + margin


def limit_axis(core: Values, ends: Values, least: float) -> tuple[float, float]:
    """Return limits with all of ``core``, and intervals' ends as far as they don't squeeze it.

    Args:
        core: what is to be seen: points, means
        ends: of intervals; NaN is none
        least: the least range, for values that are all the same
    """
    low, high = float(np.nanmin(core)), float(np.nanmax(core))
    reach = max(high - low, least)
    values = np.asarray(ends, dtype=float)
    values = values[np.isfinite(values)].clip(low - reach, high + reach)
    left, right = min([low, *values]), max([high, *values])
    margin = 0.08 * max(right - left, least)
    return left - margin, right + margin


def cut_marks(
    ends: np.ndarray, positions: Values, limits: tuple[float, float], color: str, flat: bool
) -> list[Marks]:
    """Return arrows at the panel's edges where intervals go on beyond them.

    Args:
        ends: of the intervals (2, n)
        positions: where they are on the other axis
        limits: of the panel
        color: of the arrows
        flat: whether the intervals are horizontal
    """
    edges = limits[0] + np.ptp(limits) * np.array([0.012, 0.988])
    marks = []
    for edge, is_cut, marker in (
        (edges[0], ends[0] < limits[0], "<" if flat else "v"),
        (edges[1], ends[1] > limits[1], ">" if flat else "^"),
    ):
        if is_cut.any():
            at_edge = np.where(is_cut, edge, math.nan)
            x, y = (at_edge, positions) if flat else (positions, at_edge)
            marks.append(Marks(x, y, "", color, marker=marker, size=4.0, z=4))
    return marks


def label(text: str, longest: int = 28, end: bool = False) -> str:
    """Return a text fit for a figure: printable, and short enough to leave room for the axes.

    Args:
        text: a name from a file
        longest: the most letters
        end: keep the end of a long text, where paths differ, instead of its start
    """
    printable = "".join(c if c.isprintable() else "?" for c in text)
    if len(printable) <= longest:
        return printable
    return "…" + printable[1 - longest :] if end else printable[: longest - 1] + "…"


def require_formats(formats: Sequence[str]) -> None:
    """Refuse unknown formats.

    Raises:
        UserError: a format is none of ``FORMATS``
    """
    if unknown := set(formats).difference(FORMATS):
        raise UserError(
            f"figures can't be drawn as {', '.join(sorted(map(repr, unknown)))}",
            f"the formats are {', '.join(FORMATS)}; several with commas between",
        )
