"""How the evidence grew: each row's difference and its interval after each pair of runs.

The interval at a look is what all looks so far have in common, so it can only become narrower. It
has the level at which Holm's correction tests the row in the end: a row is better or worse once its
interval leaves zero out. That a row is the same is tested at each of two sides, by limits that are
a little narrower.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarlab.experiments.study.comparison import Comparison, ComparisonRow
from cifarlab.experiments.study.verdicts import describe_margin, is_single_look
from cifarlab.plots import spec
from cifarlab.plots.spec import Axis, Band, Mark, Marks, Panel, Plot, Rule, Text, add_margin, label
from cifarlab.stats.paired import ALPHA
from cifarlab.stats.sequential import sequential_interval

OUTLIER_FACTOR = 4.0  # a row is an outlier so many interquartile ranges beyond the quartiles
MAX_WIDTH_FACTOR = 2.5  # a panel may be so many times as wide as the other rows need
_COLUMNS = 3


def evidence(comparison: Comparison) -> Plot | None:
    """Return a panel for each row that is compared; None of one look, or before the first."""
    rows = [
        row
        for row in comparison.rows
        if row.pairs and row.pairs.difference.interval and row.pairs.difference.std
    ]
    if not rows or is_single_look(comparison.plan):
        return None
    metric = comparison.metric
    base = next(row.values for row in comparison.rows if row.name == comparison.baseline)
    points = [metric.factor * np.array(row.differences(base)[: row.plan.most]) for row in rows]
    levels = [decisive_level(comparison, row) for row in rows]
    ends = [_ends(*of_row) for of_row in zip(rows, points, levels, strict=True)]
    limits = _limits(comparison, points, ends)
    panels = [
        _panel(comparison, *of_row, limits, max(map(len, points)))
        for of_row in zip(rows, points, ends, strict=True)
    ]
    n_columns = min(_COLUMNS, len(panels))
    return Plot(
        panels,
        width=spec.WIDE if n_columns > 1 else spec.NARROW,
        height=1.35 + 2.0 * math.ceil(len(panels) / n_columns),
        columns=n_columns,
        common_x=True,
        common_y=True,
        title=f"{label(comparison.title, 60)}, {label(comparison.data, 40)}\n{_describe(levels)}",
        ylabel=f"difference from {label(comparison.baseline)}" + " (points)" * metric.percent,
        legend="below",
        legend_columns=2,
    )


def decisive_level(comparison: Comparison, row: ComparisonRow) -> float:
    """Return the level at which Holm's correction tests a row: less than 0.05 of several rows."""
    p = 1.0 if row.pairs is None or row.pairs.p is None else row.pairs.p
    n_before = sum(
        other.p is not None and other.p <= ALPHA and other.pairs.p < p
        for other in comparison.rows
        if other.pairs and other.pairs.p is not None
    )
    return ALPHA / max(1, comparison.n_tests - n_before)


def _describe(levels: list[float]) -> str:
    percents = sorted({f"{100 * (1 - level):.3g}" for level in levels})
    words = f"{percents[0]} %" if len(percents) == 1 else f"{percents[0]} to {percents[-1]} %"
    return f"intervals of {words}, valid at each look;\nbetter or worse where they leave zero out"


def _ends(row: ComparisonRow, points: np.ndarray, level: float) -> np.ndarray:
    """Return the ends (2, N) of a row's interval after each pair, NaN before the first look."""
    looks = range(1, len(points) + 1)
    intervals = (sequential_interval(points[:n].tolist(), row.plan, level) for n in looks)
    return np.array([interval or (math.nan, math.nan) for interval in intervals]).T


def _limits(
    comparison: Comparison, points: list[np.ndarray], ends: list[np.ndarray]
) -> tuple[float, float]:
    """Return limits for all panels: with the last intervals, zero and margin, without outliers."""
    metric, edge = comparison.metric, (comparison.margin or 0.0) * comparison.metric.factor
    is_near = find_near(points, metric.factor)
    core = np.concatenate([[0.0], *itertools.compress(points, is_near)])
    last = np.array([of_row[:, -1] for of_row in ends])[is_near]
    return spec.limit_axis(core, [-edge, edge, *last.ravel()], 0.01 * metric.factor)


def find_near(rows: Sequence[np.ndarray], factor: int) -> np.ndarray:
    """Return which rows have values, and are no outliers that would press all others together."""
    means = np.array([values.mean() if len(values) else math.nan for values in rows])
    has_values = np.isfinite(means)
    low, high = np.nanquantile(means, (0.25, 0.75))
    reach = OUTLIER_FACTOR * max(high - low, 0.005 * factor)
    is_near: np.ndarray = (means >= low - reach) & (means <= high + reach)
    widths = [np.ptp(np.concatenate([*itertools.compress(rows, k)])) for k in (is_near, has_values)]
    return is_near if widths[1] > MAX_WIDTH_FACTOR * widths[0] else has_values


def _panel(
    comparison: Comparison,
    row: ComparisonRow,
    points: np.ndarray,
    ends: np.ndarray,
    limits: tuple[float, float],
    n_most: int,
) -> Panel:
    metric, pairs = comparison.metric, np.arange(1, len(points) + 1)
    state, color = ("decided", spec.BLUE) if row.is_decided else ("undecided", spec.ORANGE)
    means = np.where(np.isnan(ends[0]), math.nan, np.cumsum(points) / pairs)
    marks: list[Mark] = [Rule(0, spec.INK, flat=True)]
    if comparison.margin is not None:
        reach = np.full(2, metric.factor * comparison.margin)
        text = f"margin, {describe_margin(comparison.margin, metric)}"
        marks.append(Band((0.5, n_most + 0.5), -reach, reach, spec.GREEN, text))
    look: dict[str, Any] = {"marker": "o", "size": 4.5, "hollow": not row.is_decided}
    marks += [
        Marks(pairs, points, "one seed: a pair of runs", spec.GREY, marker="o", size=2.6),
        Marks(pairs + 0.12, means, f"mean and interval, {state}", color, ends=ends, **look),
        *spec.cut_marks(ends, pairs + 0.12, limits, color, flat=False),
    ]
    if not limits[0] <= means[-1] <= limits[1]:
        low, high = add_margin(*limits, -0.06)
        edge, base = (low, "bottom") if means[-1] < low else (high, "top")
        text = f"mean {metric.number(means[-1] / metric.factor, '+')}"
        marks.append(Text(n_most / 2, edge, text, 7, "center", base, color, boxed=True))
    x = Axis("pairs of runs", (0.5, n_most + 0.5), integer=True)
    return Panel(marks, x, Axis(limits=limits), title=f"{label(row.name, 22)}: {row.verdict}")
