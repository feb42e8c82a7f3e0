"""A comparison as a figure: every run a point, means with their intervals, the report's numbers.

A row far from all others would press them together: the panel ends before it, and an arrow gives
its mean.
"""

import math
from collections.abc import Sequence

import numpy as np

from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import SPLIT_NAMES
from cifarlab.experiments.writing import scale_words
from cifarlab.plots import spec
from cifarlab.stats.paired import Summary

FAR = 4.0  # times the middle half of the rows' means, beyond its ends
PRESSED = 2.5  # a panel may be so many times as wide as its near rows need


def figure(comparison: Comparison) -> spec.Plot:
    """The metric on the left and, where there are any, differences from the baseline beside."""
    rows, metric = comparison.rows, comparison.metric
    y = spec.Axis(limits=(len(rows) - 0.4, -0.6), names=[spec.label(row.name) for row in rows])
    name = f"{SPLIT_NAMES[comparison.split]} {metric.axis}"
    level = [
        row.reported.accuracy if row.reported and row.agreement.by == "level" else None
        for row in rows
    ]
    runs = [list(row.values.values()) for row in rows]
    panels = [_panel(runs, [row.summary for row in rows], level, name, y, metric.factor)]
    if any(row.pairs for row in rows):
        base = comparison.baseline_row.values
        runs = [
            [v - base[s] for s, v in row.values.items() if row.pairs and s in base] for row in rows
        ]
        differences = [row.pairs and row.pairs.difference for row in rows]
        expected = [
            metric.factor * row.agreement.expected
            if row.pairs and row.agreement.expected is not None
            else None
            for row in rows
        ]
        name = f"difference from {spec.label(comparison.baseline)}{' (points)' * metric.percent}"
        panels.append(_panel(runs, differences, expected, name, y, metric.factor, zero=True))
    title = f"{spec.label(comparison.title, 60)}, {spec.label(comparison.data, 40)}"
    return spec.Plot(
        panels,
        width=spec.WIDE if len(panels) > 1 else spec.NARROW,
        height=1.35 + 0.26 * len(rows),
        columns=len(panels),
        common_y=True,
        title=title if comparison.scale == 1 else f"{title}\n{scale_words(comparison.scale)}",
        legend="below",
        legend_columns=3,
    )


def _panel(
    runs: Sequence[Sequence[float]],
    summaries: Sequence[Summary | None],
    reported: Sequence[float | None],
    name: str,
    y: spec.Axis,
    factor: int,
    zero: bool = False,
) -> spec.Panel:
    """Return the runs, means and reported numbers of each row; fractions but for the reported."""
    at = np.arange(len(runs))
    nothing = (math.nan, math.nan)
    means = factor * np.array([s.mean if s else math.nan for s in summaries])
    ends = factor * np.array([(s and s.interval) or nothing for s in summaries]).T
    points = np.array([(factor * v, row) for row, some in enumerate(runs) for v in some])
    points = points.reshape(-1, 2)
    values = np.array([math.nan if value is None else value for value in reported])
    x = np.concatenate([points[:, 0], means, *ends, values])
    rows = np.concatenate([points[:, 1], at, at, at, at])
    limits, far = _cut(x, rows, means, factor)
    marks: list[spec.Mark] = [
        *([spec.Rule(0, spec.INK)] if zero else []),
        spec.Marks(
            x=points[:, 0], y=points[:, 1], color=spec.GREY, marker="o", size=2.6, label="a run"
        ),
        spec.Marks(
            x=means, y=at, ends=ends, flat=True, marker="o", size=4.5, label="mean, 95 % interval"
        ),
        spec.Marks(
            x=values, y=at, color=spec.VERMILION, marker="D", size=4.5, z=4, label="reported"
        ),
        *far,
    ]
    return spec.Panel(marks, spec.Axis(name, limits), y, grid="x")


def _cut(
    x: np.ndarray, rows: np.ndarray, means: np.ndarray, factor: int
) -> tuple[tuple[float, float] | None, list[spec.Text]]:
    """Return where a panel ends before rows far from the others, and texts that say their means."""
    if np.isnan(means).all():
        return None, []
    low, high = np.nanquantile(means, (0.25, 0.75))
    reach = FAR * max(high - low, 0.005 * factor)
    near = (means >= low - reach) & (means <= high + reach)
    shown = x[near[rows.astype(int)] & np.isfinite(x)]
    if np.nanmax(x) - np.nanmin(x) <= PRESSED * np.ptp(shown):
        return None, []
    margin = 0.12 * np.ptp(shown) or 0.01 * factor  # a point, where all near rows are one
    left, right = shown.min() - margin, shown.max() + margin
    texts = []
    for row in np.flatnonzero(~near & np.isfinite(means)).tolist():
        below = means[row] < low
        mean = f"{means[row]:.1f}" if factor > 1 else f"{means[row]:.3g}"
        text = f"\u25c2 {mean}" if below else f"{mean} \u25b8"
        at, align = (left, "left") if below else (right, "right")
        texts.append(spec.Text(at, row, text, 7, align, "center", spec.BLUE, boxed=True))
    return (left, right), texts
