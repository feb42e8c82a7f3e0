"""The accuracy of each class, with its interval."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cifarlab.plots.style import BLUE, NARROW, VERMILION, WIDE, label, sheet, tidy, with_margin
from cifarlab.report.tables import class_rows
from cifarlab.run_folder.run_data import SPOKEN, RunData
from cifarlab.system.formatting import number, pair, percent

_ONE_COLUMN = 30  # classes; with more, a single column would be taller than a page
_MOST = 120  # classes; of more, those of the least accuracy are drawn


def per_class(run: RunData) -> Figure | None:
    """Draw the accuracy of each class with its interval, best first; None where there is none.

    Of very many classes, the least accurate ones.
    """
    rows = sorted(
        (row for row in class_rows(run) if number(row.get("accuracy")) is not None),
        key=lambda row: (-float(row["accuracy"]), str(row.get("class"))),
    )
    if not rows:
        return None
    some = f", {_MOST} least accurate classes of {len(rows):,}" if len(rows) > _MOST else ""
    rows = rows[-_MOST:]
    columns = 1 if len(rows) <= _ONE_COLUMN else 3
    depth = math.ceil(len(rows) / columns)
    row_height = 0.24 if columns == 1 else 0.145
    figure = sheet(NARROW if columns == 1 else WIDE, 0.95 + row_height * depth)
    panels = figure.subplots(1, columns, sharex=True, squeeze=False)[0]
    for index, axes in enumerate(panels):
        _dots(axes, rows[index * depth : (index + 1) * depth], depth, columns > 1)
    overall = number(run.split(run.split_name).get("accuracy"))
    if overall is not None:
        for axes in panels:
            axes.axvline(100 * overall, color=VERMILION, linewidth=1, linestyle="--", zorder=1)
        figure.legend(
            panels[0].lines[-1:], [f"all classes: {percent(overall)}"], loc="outside upper left"
        )
    split = SPOKEN[run.split_name or "test"]
    figure.supxlabel(
        f"{split} accuracy on {label(run.data_name, 40)} (%), 95 % interval{some}", fontsize=8
    )
    panels[0].xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=True))
    panels[0].set_xlim(with_margin(_floor(rows), 100))
    return figure


def _dots(axes: Axes, rows: list[dict[str, Any]], depth: int, dense: bool) -> None:
    values = np.array([float(row["accuracy"]) for row in rows])
    ends = [pair(row.get("interval")) for row in rows]
    low = np.array([v if e[0] is None else min(e[0], v) for v, e in zip(values, ends, strict=True)])
    high = np.array(
        [v if e[1] is None else max(e[1], v) for v, e in zip(values, ends, strict=True)]
    )
    row_positions = np.arange(len(rows))
    axes.errorbar(
        100 * values,
        row_positions,
        xerr=100 * np.stack([values - low, high - values]),
        fmt="o",
        color=BLUE,
        markersize=2.6 if dense else 4,
        elinewidth=0.8 if dense else 1.1,
        capsize=0 if dense else 2,
    )
    axes.set_yticks(
        row_positions,
        [label(str(row.get("class", "?")), 18) for row in rows],
        fontsize=5.8 if dense else 7.5,
    )
    axes.set_ylim(depth - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    tidy(axes, "x")


def _floor(rows: list[dict[str, Any]]) -> float:
    """Return a round number under every interval: dots, unlike bars, need no zero."""
    lows = [pair(row.get("interval"))[0] for row in rows]
    least = min(
        number(row["accuracy"]) or 0.0 if low is None else low
        for row, low in zip(rows, lows, strict=True)
    )
    return max(0.0, 10 * math.floor(10 * least - 0.05))
