"""A comparison as a figure: every run a point, means with their intervals, the reports' numbers.

A row far from the others would compress them: the panel ends before it, and an arrow gives its
mean. Of the differences, decided rows are filled and the others hollow; a band is the margin.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.evidence import evidence, find_near
from cifarlab.experiments.study.verdicts import describe_margin
from cifarlab.plots import flips, spec
from cifarlab.plots.row_curves import row_curves
from cifarlab.plots.spec import Axis, Band, Marks, Panel, Plot, Text, label
from cifarlab.recipes.scale import describe_scale
from cifarlab.run_folder.run_data import SPLIT_NAMES
from cifarlab.stats.paired import Summary


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
    lines = [f"{label(comparison.title, 60)}, {label(comparison.data, 40)}"]
    if comparison.scale != 1:
        lines.append(describe_scale(comparison.scale))
    if comparison.n_tests > 1:
        lines.append(
            "an interval is its row's own; rows are decided by p corrected for all of them (Holm)"
        )
    return Plot(
        panels,
        width=spec.WIDE if len(panels) > 1 else spec.NARROW,
        height=1.35 + 0.26 * len(rows),
        columns=len(panels),
        common_y=True,
        title="\n".join(lines),
        legend="below",
        legend_columns=3,
    )


FIGURES = {
    "figure": (figure, "Every run, the means and the differences"),
    "curves": (
        lambda table: row_curves(table.runs_by_row, table.baseline),
        "Accuracy and loss by epoch of each row",
    ),
    "flips": (lambda table: flips.flips(table.by_image), flips.TITLES["flips"]),
    "intervals": (lambda table: flips.intervals(table.by_image), flips.TITLES["intervals"]),
    "evidence": (evidence, "How the differences and their intervals grew, seed by seed"),
}


def _difference_panel(comparison: Comparison, y: Axis) -> Panel:
    """Return the panel of the differences from the baseline, with the margin as a band."""
    rows, metric, margin = comparison.rows, comparison.metric, comparison.margin
    base = next(row.values for row in rows if row.name == comparison.baseline)
    differences = [row.differences(base) if row.pairs else [] for row in rows]
    summaries = [row.pairs and row.pairs.difference for row in rows]
    expected = [row.agreement.expected if row.pairs else None for row in rows]
    name = f"difference from {label(comparison.baseline)}{' (points)' * metric.percent}"
    is_filled = [row.is_decided for row in rows]
    edges = [-(margin or 0.0), margin or 0.0]
    panel = _panel(name, y, metric.factor, differences, summaries, expected, is_filled, edges)
    marks: list[spec.Mark] = [spec.Rule(0, spec.INK)]
    if margin is not None and y.limits:
        x, (low, high) = metric.factor * np.array(edges), y.limits
        text = f"margin, {describe_margin(margin, metric)}"
        marks.append(Band(x, [low, low], [high, high], spec.GREEN, text))
    return panel._replace(marks=[*marks, *panel.marks])


def _panel(
    name: str,
    y: Axis,
    factor: int,
    runs: Sequence[Sequence[float]],
    summaries: Sequence[Summary | None],
    reported: Sequence[float | None],
    is_filled: Sequence[bool],
    edges: Sequence[float] = (),
) -> Panel:
    """Return a panel with the runs, means and reported numbers of each row, all fractions."""
    row_y, run_y = (np.arange(len(runs)), np.repeat(np.arange(len(runs)), list(map(len, runs))))
    points = factor * np.array([value for values in runs for value in values])
    means = factor * np.array([s and s.mean for s in summaries], dtype=float)
    nothing = (math.nan, math.nan)
    ends = factor * np.array([(s and s.interval) or nothing for s in summaries]).T
    theirs = factor * np.array(reported, dtype=float)
    is_near = find_near([factor * np.array(values) for values in runs], factor)
    core = np.concatenate([points[is_near[run_y]], theirs[is_near], np.zeros(len(edges))])
    all_ends = [*ends[:, is_near].ravel(), *(factor * np.array(edges))]
    limits = spec.limit_axis(core, all_ends, 0.01 * factor)
    look: dict[str, Any] = {"flat": True, "marker": "o", "size": 4.5}
    marks: list[spec.Mark] = [Marks(points, run_y, "one seed", spec.GREY, marker="o", size=2.6)]
    text = "mean, 95 % interval"
    states = ((True, text, spec.BLUE), (False, f"{text}, undecided", spec.ORANGE))
    for filled, text, color in states:
        is_state = (np.array(is_filled) == filled) & np.isfinite(means)
        if is_state.any():
            x, of_state = np.where(is_state, means, np.nan), np.where(is_state, ends, np.nan)
            marks.append(Marks(x, row_y, text, color, ends=of_state, hollow=not filled, **look))
            marks += spec.cut_marks(np.where(is_near, of_state, np.nan), row_y, limits, color, True)
    if np.isfinite(theirs).any():
        marks.append(Marks(theirs, row_y, "reported", spec.VERMILION, marker="D", size=4.5, z=4))
    outliers = [
        _outlier_text(row, means[row], limits, factor)
        for row in np.flatnonzero(~is_near & np.isfinite(means)).tolist()
    ]
    return Panel([*marks, *outliers], Axis(name, limits), y, grid="x")


def _outlier_text(row: int, mean: float, limits: tuple[float, float], factor: int) -> Text:
    """Return the mean of a row that lies beyond the panel, at the panel's edge."""
    text = f"{mean:.1f}" if factor > 1 else f"{mean:.3g}"
    if mean < limits[0]:
        return Text(limits[0], row, f"\u25c2 {text}", 7, "left", "center", spec.BLUE, boxed=True)
    return Text(limits[1], row, f"{text} \u25b8", 7, "right", "center", spec.BLUE, boxed=True)
