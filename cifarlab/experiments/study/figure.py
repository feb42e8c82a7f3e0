"""A comparison as a figure: every run a point, means with their intervals, the report's numbers.

A row far from all others would press them together: the panel ends before it, and an arrow gives
its mean.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.experiments.study.comparison import Comparison, Line
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


def picture(of: Comparison, formats: Sequence[str] = ("svg",)) -> Picture:
    """The figure in these formats; the same comparison gives the same bytes."""
    with styled():
        return render(draw(of), "figure", f"{of.split} accuracy by row: {of.title}", formats)


def draw(of: Comparison) -> Figure:
    """Accuracies on the left and, where there are any, differences from the baseline beside."""
    compared = [line for line in of.lines if line.pairs]
    figure = sheet(WIDE if compared else NARROW, 1.35 + 0.26 * len(of.lines))
    panels = figure.subplots(1, 2 if compared else 1, sharey=True, squeeze=False)[0]
    for place, line in enumerate(of.lines):
        _accuracy(panels[0], place, line)
        if compared:
            _difference(panels[1], place, line, of)
    panels[0].set_yticks(range(len(of.lines)), [label(line.row) for line in of.lines])
    panels[0].set_ylim(len(of.lines) - 0.4, -0.6)
    panels[0].set_xlabel(f"{of.split} accuracy (%)")
    if compared:
        panels[1].axvline(0, color=INK, linewidth=0.8, zorder=1)
        panels[1].set_xlabel(f"difference from {label(of.baseline)} (points)")
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        tidy(axes, "x")
    _cut(panels[0], [line.accuracy for line in of.lines])
    if compared:
        _cut(panels[1], [line.pairs and line.pairs.difference for line in of.lines])
    title = f"{label(of.title, 60)}, {label(of.data, 40)}"
    figure.suptitle(
        title if of.scale == 1 else f"{title}\n{scale_words(of.scale)}",
        fontsize=8,
        x=0.01,
        ha="left",
    )
    _legend(figure, panels)
    return figure


def _accuracy(axes: Axes, place: int, line: Line) -> None:
    runs = [100 * value for value in line.accuracies.values()]
    axes.plot(runs, [place] * len(runs), "o", color=GREY, markersize=2.6, label="a run")
    _mean(axes, place, line.accuracy)
    if line.reported and line.agreement.by == "level":
        _mark(axes, place, line.reported.accuracy)


def _difference(axes: Axes, place: int, line: Line, of: Comparison) -> None:
    if line.pairs is None:
        return
    base = of.reference.accuracies
    pairs = [100 * (value - base[s]) for s, value in line.accuracies.items() if s in base]
    axes.plot(pairs, [place] * len(pairs), "o", color=GREY, markersize=2.6)
    _mean(axes, place, line.pairs.difference)
    if line.agreement.expected is not None:
        _mark(axes, place, 100 * line.agreement.expected)


def _mean(axes: Axes, place: int, of: Summary | None) -> None:
    if of is None:
        return
    reach = None
    if of.interval:
        reach = [[100 * (of.mean - of.interval[0])], [100 * (of.interval[1] - of.mean)]]
    axes.errorbar(
        [100 * of.mean],
        [place],
        xerr=reach,
        fmt="o",
        color=BLUE,
        markersize=4.5,
        capsize=2.5,
        elinewidth=1.2,
        label="mean, 95 % interval",
    )


def _mark(axes: Axes, place: int, value: float) -> None:
    axes.plot([value], [place], "D", color=VERMILION, markersize=4.5, zorder=4, label="reported")


def _cut(axes: Axes, rows: list[Summary | None]) -> None:
    """End the panel before rows that lie far from the others, and say where those are."""
    means = {place: 100 * row.mean for place, row in enumerate(rows) if row}
    if not means:
        return
    low, high = np.quantile(list(means.values()), (0.25, 0.75))
    reach = FAR * max(high - low, 0.5)
    near = {place for place, mean in means.items() if low - reach <= mean <= high + reach}
    points = np.concatenate([np.asarray(line.get_xydata()) for line in axes.get_lines()])
    shown = points[np.isin(points[:, 1], list(near)), 0]
    if np.ptp(points[:, 0]) <= PRESSED * np.ptp(shown):
        return
    margin = 0.12 * np.ptp(shown) or 1.0  # points, where all near rows are one
    axes.set_xlim(shown.min() - margin, shown.max() + margin)
    for place in means.keys() - near:
        below = means[place] < low
        words = f"\u25c2 {means[place]:.1f}" if below else f"{means[place]:.1f} \u25b8"
        axes.annotate(
            words,
            (0 if below else 1, place),
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
