"""A comparison as a figure: every run a point, means with their intervals, the reports' numbers.

A row far from the others would compress them: the panel ends before it, and an arrow gives its
mean. Of the differences, decided rows are filled and the others hollow; a band is the margin.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.curves import curves
from cifarlab.experiments.study.evidence import evidence
from cifarlab.experiments.study.verdicts import describe_margin
from cifarlab.experiments.writing import describe_scale
from cifarlab.plots import flips, spec
from cifarlab.plots.spec import Axis, Band, Marks, Panel, Plot, Text, label
from cifarlab.run_folder.run_data import SPLIT_NAMES
from cifarlab.stats.paired import Summary

OUTLIER_FACTOR = 4.0  # a row is an outlier so many interquartile ranges beyond the quartiles
MAX_WIDTH_FACTOR = 2.5  # a panel may be so many times as wide as the other rows need


def figure(comparison: Comparison) -> Plot:
    """Draw the metric on the left and, where there are pairs, differences from the baseline."""
    rows, metric = comparison.rows, comparison.metric
    y = Axis(limits=(len(rows) - 0.4, -0.6), names=[label(row.name) for row in rows])
    levels = [list(row.values.values()) for row in rows]
    reported = [
        r.reported.accuracy / metric.factor if r.reported and r.agreement.basis == "level" else None
        for r in rows
    ]
    name = metric.title_on(SPLIT_NAMES[comparison.split]) + " (%)" * metric.percent
    is_filled = [True] * len(rows)
    summaries = [row.summary for row in rows]
    panels = [_panel(name, y, metric.factor, levels, summaries, reported, is_filled)]
    if any(row.pairs for row in rows):
        panels.append(_difference_panel(comparison, y))
    title = f"{label(comparison.title, 60)}, {label(comparison.data, 40)}"
    return Plot(
        panels,
        width=spec.WIDE if len(panels) > 1 else spec.NARROW,
        height=1.35 + 0.26 * len(rows),
        columns=len(panels),
        common_y=True,
        title=title if comparison.scale == 1 else f"{title}\n{describe_scale(comparison.scale)}",
        legend="below",
        legend_columns=3,
    )


FIGURES = {
    "figure": (figure, "Every run, the means and the differences"),
    "curves": (curves, "Accuracy and loss by epoch of each row"),
    "flips": (lambda table: flips.flips(table.by_image), flips.TITLES["flips"]),
    "intervals": (lambda table: flips.intervals(table.by_image), flips.TITLES["intervals"]),
    "evidence": (evidence, "How the differences and their intervals grew, seed by seed"),
}


def _difference_panel(comparison: Comparison, y: Axis) -> Panel:
    """Return the panel of the differences from the baseline, with the margin as a band."""
    rows, metric, margin = comparison.rows, comparison.metric, comparison.margin
    base = next(row.values for row in rows if row.name == comparison.baseline)
    differences = [
        [v - base[s] for s, v in row.values.items() if row.pairs and s in base] for row in rows
    ]
    summaries = [row.pairs and row.pairs.difference for row in rows]
    expected = [row.agreement.expected if row.pairs else None for row in rows]
    name = f"difference from {label(comparison.baseline)}{' (points)' * metric.percent}"
    is_filled = [row.is_decided for row in rows]
    panel = _panel(name, y, metric.factor, differences, summaries, expected, is_filled)
    marks: list[spec.Mark] = [spec.Rule(0, spec.INK)]
    if margin is not None and y.limits:
        ends, (low, high) = np.array([-margin, margin]) * metric.factor, y.limits
        marks.append(Band(ends, [low, low], [high, high], spec.GREEN))
        text = f"margin, {describe_margin(margin, metric)}"
        marks += [spec.Rule(ends[0], spec.GREEN, "--", text), spec.Rule(ends[1], spec.GREEN, "--")]
    return panel._replace(marks=[*marks, *panel.marks])


def _panel(
    name: str,
    y: Axis,
    factor: int,
    runs: Sequence[Sequence[float]],
    summaries: Sequence[Summary | None],
    reported: Sequence[float | None],
    is_filled: Sequence[bool],
) -> Panel:
    """Return a panel with the runs, means and reported numbers of each row, all fractions."""
    row_y, run_y = (np.arange(len(runs)), np.repeat(np.arange(len(runs)), list(map(len, runs))))
    points = factor * np.array([value for values in runs for value in values])
    means = factor * np.array([s and s.mean for s in summaries], dtype=float)
    nothing = (math.nan, math.nan)
    ends = factor * np.array([(s and s.interval) or nothing for s in summaries]).T
    theirs = factor * np.array(reported, dtype=float)
    x = np.concatenate([points, means, *ends, theirs])
    limits, outliers = _limit_panel(x, np.concatenate([run_y, *[row_y] * 4]), means, factor)
    marks: list[spec.Mark] = [Marks(points, run_y, "a run", spec.GREY, marker="o", size=2.6)]
    states = ((True, "mean, 95 % interval", spec.BLUE), (False, "undecided", spec.ORANGE))
    for filled, text, color in states:
        x_of_state = np.where(np.array(is_filled) == filled, means, np.nan)
        look: dict[str, Any] = {"flat": True, "marker": "o", "size": 4.5, "hollow": not filled}
        if np.isfinite(x_of_state).any() or filled:
            marks.append(Marks(x_of_state, row_y, text, color, ends=ends, **look))
    marks += [
        Marks(theirs, row_y, "reported", spec.VERMILION, marker="D", size=4.5, z=4),
        *outliers,
    ]
    return Panel(marks, Axis(name, limits), y, grid="x")


def _limit_panel(
    x: np.ndarray, rows: np.ndarray, means: np.ndarray, factor: int
) -> tuple[tuple[float, float] | None, list[Text]]:
    """Return a panel's limits without outlying rows, and texts with the means of those."""
    if np.isnan(means).all():
        return None, []
    low, high = np.nanquantile(means, (0.25, 0.75))
    reach = OUTLIER_FACTOR * max(high - low, 0.005 * factor)
    is_near = (means >= low - reach) & (means <= high + reach)
    near_values = x[is_near[rows.astype(int)] & np.isfinite(x)]
    if np.nanmax(x) - np.nanmin(x) <= MAX_WIDTH_FACTOR * np.ptp(near_values):
        return None, []
    margin = 0.12 * np.ptp(near_values) or 0.01 * factor  # for a single point
    left, right = near_values.min() - margin, near_values.max() + margin
    texts = []
    for row in np.flatnonzero(~is_near & np.isfinite(means)).tolist():
        is_low = means[row] < low
        mean = f"{means[row]:.1f}" if factor > 1 else f"{means[row]:.3g}"
        text = f"\u25c2 {mean}" if is_low else f"{mean} \u25b8"
        end, align = (left, "left") if is_low else (right, "right")
        texts.append(Text(end, row, text, 7, align, "center", spec.BLUE, boxed=True))
    return (left, right), texts
