"""What a figure shows, as plain values: panels of marks on two axes; knows nothing of drawing.

A function of a run gives a ``Plot``. ``plots/draw.py`` draws it by Matplotlib, for files, reports
and notebooks, and ``dashboard/charts.py`` says it in ECharts' words. NaN is drawn as nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cifarlab.system.errors import UserError

FORMATS = ("svg", "png", "pdf")
# Okabe and Ito's colours, which stay apart for colour-blind readers and in grey print
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, INK, GREY = "#e69f00", "#56b4e9", "#222222", "#7a7a7a"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
NARROW, WIDE = 4.3, 7.4  # inches: one column of a paper's page, and the page
MANY = 12  # cells in a row; with more, a number no longer fits its cell

Values = Sequence[float] | np.ndarray


class Marks(NamedTuple):
    """Points, joined by a line of ``width`` if it has one, with the ``ends`` of error bars (2, n).

    Error bars stand upright, or lie along x where they are ``flat``.
    """

    x: Values
    y: Values
    label: str = ""
    color: str = BLUE
    width: float = 0.0
    dash: str = "-"
    marker: str = ""
    size: float = 3.5
    every: int = 1
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


class Bars(NamedTuple):
    """Bars from 0 to ``lengths`` at positions, so many units thick; they lie where ``flat``."""

    at: Values
    lengths: Values
    thickness: float
    color: str = BLUE
    flat: bool = False


class Rule(NamedTuple):
    """A line through the whole panel, upright at x = ``at`` or, where ``flat``, at y."""

    at: float
    color: str = GREY
    dash: str = "-"
    label: str = ""
    width: float = 0.8
    flat: bool = False


class Matrix(NamedTuple):
    """Values (R, C) as colours between two ``limits``, by a ``scale``: linear, sqrt or log.

    Cells have side 1 around whole numbers, the first row on top, or share the ``extent`` (left,
    right, low, high). ``texts`` (R, C) stand in the cells; ``bar`` names the colour bar, if any;
    ``tip`` says a cell (row, column) in words.
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
    """A short text at a point; ``boxed`` on white, over lines."""

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
    """One direction of a panel; ``names`` are those of the positions 0, 1, ...; of many, some."""

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
    """Panels in rows of ``columns``; ``legend`` is best (in the first), below, above or right."""

    panels: Sequence[Panel]
    width: float = NARROW
    height: float = 3.4
    columns: int = 1
    heights: Sequence[float] | None = None
    common_x: bool = False
    common_y: bool = False
    title: str = ""
    below: str = ""
    left: str = ""
    legend: str = ""
    legend_title: str = ""
    legend_columns: int = 1


def with_margin(low: float, high: float, fraction: float = 0.025) -> tuple[float, float]:
    """Return limits a little beyond ``low`` and ``high``: a mark at the very end is drawn whole."""
    margin = fraction * (high - low)
    return low - margin, high + margin


def label(text: str, longest: int = 28, end: bool = False) -> str:
    """Return ``text`` fit for a figure: printable, one line, cut where it would push the axes away.

    With ``end`` its end is kept, which tells paths apart.
    """
    clean = "".join(c if c.isprintable() else "?" for c in text)
    if len(clean) <= longest:
        return clean
    return "…" + clean[1 - longest :] if end else clean[: longest - 1] + "…"


def require_formats(formats: Sequence[str]) -> None:
    """Raise UserError for a format that there is not."""
    if unknown := set(formats).difference(FORMATS):
        raise UserError(
            f"figures can't be drawn as {', '.join(sorted(map(repr, unknown)))}",
            f"the formats are {', '.join(FORMATS)}; several with commas between",
        )
