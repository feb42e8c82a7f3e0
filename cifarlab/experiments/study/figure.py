"""A comparison as a figure: every run a point, means with their intervals, the report's numbers.

A row far from all others would press them together: the panel ends before it, and an arrow gives
its mean.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.experiments.study.comparison import Comparison, ComparisonRow
from cifarlab.experiments.study.definition import SPLIT_NAMES
from cifarlab.experiments.study.table import scale_words
from cifarlab.plots.style import (
    BLUE,
    GREY,
    INK,
    NARROW,
    VERMILION,
    WIDE,
    Picture,
    label,
    render,
    sheet,
    styled,
    tidy,
)
from cifarlab.stats.paired import Summary

FAR = 4.0  # times the middle half of the rows' means, beyond its ends
PRESSED = 2.5  # a panel may be so many times as wide as its near rows need


def picture(comparison: Comparison, formats: Sequence[str] = ("svg",)) -> Picture:
    """The figure in these formats; the same comparison gives the same bytes."""
    with styled():
        return render(
            draw(comparison),
            "figure",
            f"{SPLIT_NAMES[comparison.split]} {comparison.metric.title} by row: {comparison.title}",
            formats,
        )


def draw(comparison: Comparison) -> Figure:
    """The metric on the left and, where there are any, differences from the baseline beside."""
    compared = [row for row in comparison.rows if row.pairs]
    figure = sheet(WIDE if compared else NARROW, 1.35 + 0.26 * len(comparison.rows))
    panels = figure.subplots(1, 2 if compared else 1, sharey=True, squeeze=False)[0]
    for position, row in enumerate(comparison.rows):
        _values(panels[0], position, row, comparison.metric.factor)
        if compared:
            _difference(panels[1], position, row, comparison)
    panels[0].set_yticks(range(len(comparison.rows)), [label(row.name) for row in comparison.rows])
    panels[0].set_ylim(len(comparison.rows) - 0.4, -0.6)
    panels[0].set_xlabel(f"{SPLIT_NAMES[comparison.split]} {comparison.metric.axis}")
    if compared:
        panels[1].axvline(0, color=INK, linewidth=0.8, zorder=1)
        unit = " (points)" if comparison.metric.percent else ""
        panels[1].set_xlabel(f"difference from {label(comparison.baseline)}{unit}")
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        tidy(axes, "x")
    factor = comparison.metric.factor
    _cut(panels[0], [row.summary for row in comparison.rows], factor)
    if compared:
        _cut(panels[1], [row.pairs and row.pairs.difference for row in comparison.rows], factor)
    title = f"{label(comparison.title, 60)}, {label(comparison.data, 40)}"
    figure.suptitle(
        title if comparison.scale == 1 else f"{title}\n{scale_words(comparison.scale)}",
        fontsize=8,
        x=0.01,
        ha="left",
    )
    _legend(figure, panels)
    return figure


def _values(axes: Axes, position: int, row: ComparisonRow, factor: int) -> None:
    runs = [factor * value for value in row.values.values()]
    axes.plot(runs, [position] * len(runs), "o", color=GREY, markersize=2.6, label="a run")
    _mean(axes, position, row.summary, factor)
    if row.reported and row.agreement.by == "level":
        _mark(axes, position, row.reported.accuracy)


def _difference(axes: Axes, position: int, row: ComparisonRow, comparison: Comparison) -> None:
    if row.pairs is None:
        return
    base, factor = comparison.baseline_row.values, comparison.metric.factor
    pairs = [factor * (value - base[s]) for s, value in row.values.items() if s in base]
    axes.plot(pairs, [position] * len(pairs), "o", color=GREY, markersize=2.6)
    _mean(axes, position, row.pairs.difference, factor)
    if row.agreement.expected is not None:
        _mark(axes, position, 100 * row.agreement.expected)


def _mean(axes: Axes, position: int, summary: Summary | None, factor: int) -> None:
    if summary is None:
        return
    reach = None
    if summary.interval:
        low, high = summary.interval
        reach = [[factor * (summary.mean - low)], [factor * (high - summary.mean)]]
    axes.errorbar(
        [factor * summary.mean],
        [position],
        xerr=reach,
        fmt="o",
        color=BLUE,
        markersize=4.5,
        capsize=2.5,
        elinewidth=1.2,
        label="mean, 95 % interval",
    )


def _mark(axes: Axes, position: int, value: float) -> None:
    axes.plot([value], [position], "D", color=VERMILION, markersize=4.5, zorder=4, label="reported")


def _cut(axes: Axes, rows: list[Summary | None], factor: int) -> None:
    """End the panel before rows that lie far from the others, and say where those are."""
    means = {position: factor * row.mean for position, row in enumerate(rows) if row}
    if not means:
        return
    low, high = np.quantile(list(means.values()), (0.25, 0.75))
    reach = FAR * max(high - low, 0.005 * factor)
    near = {position for position, mean in means.items() if low - reach <= mean <= high + reach}
    points = np.concatenate([np.asarray(line.get_xydata()) for line in axes.get_lines()])
    shown = points[np.isin(points[:, 1], list(near)), 0]
    if np.ptp(points[:, 0]) <= PRESSED * np.ptp(shown):
        return
    margin = 0.12 * np.ptp(shown) or 0.01 * factor  # a point, where all near rows are one
    axes.set_xlim(shown.min() - margin, shown.max() + margin)
    for position in means.keys() - near:
        below = means[position] < low
        shown_mean = f"{means[position]:.1f}" if factor > 1 else f"{means[position]:.3g}"
        words = f"\u25c2 {shown_mean}" if below else f"{shown_mean} \u25b8"
        axes.annotate(
            words,
            (0 if below else 1, position),
            xycoords=("axes fraction", "data"),
            va="center",
            ha="left" if below else "right",
            color=BLUE,
            fontsize=7,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )


def _legend(figure: Figure, panels: list[Axes]) -> None:
    shown: dict[str, Artist] = {}
    for axes in panels:
        handles, names = axes.get_legend_handles_labels()
        shown |= dict(zip(names, handles, strict=True))
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=len(shown))
