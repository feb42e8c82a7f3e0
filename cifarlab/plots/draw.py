"""A ``Plot`` drawn by Matplotlib."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from cifarlab.plots.spec import INK, Axis, Bars, Image, Mark, Marks, Matrix, Panel, Plot, Rule, Text
from cifarlab.plots.style import Picture, render, sheet, styled, tidy

_SIDE = 960  # pixels of a matrix: sharp even in viewers that smooth what they enlarge
_OUTSIDE: dict[str, Any] = {
    "below": "outside lower center", "above": "outside upper left", "right": "outside right upper"
}  # fmt: skip
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")

Subject = TypeVar("Subject")
Figures = Mapping[str, tuple[Callable[[Subject], Plot | None], str]]


def draw_all(
    figures: Figures[Subject], subject: Subject, formats: Sequence[str] = ("svg",), name: str = ""
) -> dict[str, Picture]:
    """Return by kind all figures that there are of something; the same gives the same bytes.

    ``figures`` are (what is drawn, its words) by kind; ``name`` begins the files' names.
    """
    plots = {kind: (make(subject), alt) for kind, (make, alt) in figures.items()}
    with styled():
        return {
            kind: render(draw(plot), f"{name}{kind}", alt, formats)
            for kind, (plot, alt) in plots.items()
            if plot
        }


def draw(plot: Plot) -> Figure:
    """Return a plot as a figure."""
    with styled():
        figure = sheet(plot.width, plot.height)
        grid = figure.subplots(
            -(-len(plot.panels) // plot.columns),
            plot.columns,
            sharex=plot.common_x,
            sharey=plot.common_y,
            squeeze=False,
            height_ratios=plot.heights,
        )
        for axes in grid.flat[len(plot.panels) :]:
            axes.set_axis_off()
        for index, (axes, panel) in enumerate(zip(grid.flat, plot.panels, strict=False)):
            _draw_panel(axes, panel)
            if plot.common_x:
                axes.tick_params(labelbottom=index + plot.columns >= len(plot.panels))
        figure.suptitle(plot.title, fontsize=8, x=0.01, ha="left")
        figure.supxlabel(plot.below, fontsize=8)
        figure.supylabel(plot.left, fontsize=8)
        _draw_legend(figure, plot)
        figure.align_ylabels()
        return figure


def _draw_legend(figure: Figure, plot: Plot) -> None:
    if plot.legend == "best":
        figure.axes[0].legend(loc="best", frameon=True, edgecolor="none", framealpha=0.9)
    elif plot.legend:
        parts = [axes.get_legend_handles_labels() for axes in figure.axes]
        handles = {name: handle for h, n in parts for handle, name in zip(h, n, strict=True)}
        figure.legend(
            list(handles.values()),
            list(handles),
            loc=_OUTSIDE[plot.legend],
            title=plot.legend_title or None,
            ncols=plot.legend_columns,
        )


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_facecolor(panel.background)
    if panel.grid:
        tidy(axes, panel.grid)
    for mark in panel.marks:
        _draw_mark(axes, mark)
    axes.set_aspect("equal" if panel.square else "auto")
    if panel.x.hidden and panel.y.hidden:
        axes.axis("off")
    _draw_axis(axes, "x", panel.x)
    _draw_axis(axes, "y", panel.y)
    axes.set_title(panel.title, loc="left")
    if not panel.frame:
        axes.spines[:].set_visible(False)


def _draw_axis(axes: Axes, name: str, spec: Axis) -> None:
    axis = getattr(axes, f"{name}axis")
    step = math.ceil(len(spec.names) / spec.most_names) or 1
    more = f" (every {step}th named)" if step > 1 and spec.label else ""
    axis.set_label_text(f"{spec.label}{more}")
    if spec.names:
        slanted = 0 < spec.rotation < 90
        axis.set_ticks(
            range(0, len(spec.names), step),
            spec.names[::step],
            fontsize=spec.size,
            rotation=spec.rotation,
            **{"ha": "right", "rotation_mode": "anchor"} if slanted else {},
        )
        axis.set_tick_params(length=0)
        if name == "y":
            axes.spines["left"].set_visible(False)
    elif spec.hidden:
        axis.set_ticks([])
    else:
        axis.set_major_locator(
            MaxNLocator(spec.ticks, steps=[1, 2, 2.5, 5, 10], integer=spec.integer)
        )
        axis.set_major_formatter(_PLAIN)
        axis.set_tick_params(labelsize=spec.size)
    if spec.limits:
        getattr(axes, f"set_{name}lim")(*spec.limits)


def _draw_mark(axes: Axes, mark: Mark) -> None:
    match mark:
        case Marks():
            _draw_points(axes, mark)
        case Bars():
            bar = axes.barh if mark.flat else axes.bar
            bar(mark.at, mark.lengths, mark.thickness, color=mark.color, alpha=0.5)
        case Rule():
            line = axes.axhline if mark.flat else axes.axvline
            look: dict[str, Any] = {"linestyle": mark.dash, "linewidth": mark.width}
            line(mark.at, color=mark.color, label=mark.label or None, zorder=1, **look)
        case Matrix():
            _draw_matrix(axes, mark)
        case Text():
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            axes.text(
                mark.x, mark.y, mark.text, fontsize=mark.size, ha=mark.align, va=mark.base,
                color=mark.color, linespacing=1.1, bbox=box if mark.boxed else None, zorder=5,
            )  # fmt: skip
        case Image():
            pixels = np.repeat(mark.pixels, 3, -1) if mark.pixels.shape[-1] == 1 else mark.pixels
            extent = (mark.x, mark.x + 1, mark.y + 1, mark.y)
            axes.imshow(pixels, interpolation="none", extent=extent)


def _draw_points(axes: Axes, mark: Marks) -> None:
    x, y = np.asarray(mark.x, dtype=float), np.asarray(mark.y, dtype=float)
    if not np.isfinite(y).any():
        return
    error: dict[str, Any] = {}
    if mark.ends is not None:
        low, high = mark.ends
        middle = x if mark.flat else y
        reach = np.stack([middle - low, high - middle]).clip(min=0)
        error = {"xerr" if mark.flat else "yerr": reach}
    axes.errorbar(
        x,
        y,
        **error,
        color=mark.color,
        linestyle=mark.dash if mark.width else "none",
        linewidth=mark.width,
        marker=mark.marker,
        markersize=mark.size,
        markerfacecolor="none" if mark.hollow else mark.color,
        markevery=mark.every,
        alpha=mark.alpha,
        capsize=2.5 if len(x) <= 20 else 0,
        elinewidth=1.2 if len(x) <= 20 else 0.8,
        zorder=mark.z,
        label=mark.label or None,
    )


def _draw_matrix(axes: Axes, mark: Matrix) -> None:
    norms: dict[str, Any] = {
        "linear": Normalize,
        "log": LogNorm,
        "sqrt": lambda *ends: PowerNorm(0.5, *ends),
    }
    scale = ScalarMappable(norms[mark.scale](*mark.limits), colormaps[mark.colors])
    pixels = scale.to_rgba(np.ma.masked_invalid(mark.values))
    rows, columns = mark.values.shape
    times = max(1, _SIDE // max(rows, columns))
    cells = np.round(255 * pixels).astype(np.uint8).repeat(times, 0).repeat(times, 1)
    left, right, low, high = mark.extent or (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes.imshow(cells, extent=(left, right, low, high), interpolation="none")
    for (row, column), text in np.ndenumerate(mark.texts if mark.texts is not None else []):
        dark = pixels[row, column, :3] @ (0.299, 0.587, 0.114) < 0.55
        axes.text(
            column, row, text, ha="center", va="center", fontsize=6.3,
            color="white" if dark else INK, fontweight="bold" if mark.bold else "normal",
        )  # fmt: skip
    if mark.bar:
        ticks = LogLocator(subs=(1, 2, 5)) if mark.scale == "log" else MaxNLocator(5)
        inset = axes.inset_axes((1.03, 0, 0.035, 1))
        bar = axes.figure.colorbar(scale, cax=inset, ticks=ticks, format=_PLAIN)
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.set_label(mark.bar)
        bar.outline.set_visible(False)
