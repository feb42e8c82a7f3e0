"""A ``Plot`` drawn by Matplotlib."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from cifarlab.plots.spec import (
    INK,
    Axis,
    Band,
    Bars,
    Image,
    Mark,
    Marks,
    Matrix,
    Panel,
    Plot,
    Rule,
    Text,
)
from cifarlab.plots.style import Picture, draw_grid, figure_style, new_figure, render

_SIDE = 960  # pixels of a matrix: sharp even in viewers that smooth what they enlarge
_OUTSIDE: dict[str, Any] = {
    "below": "outside lower center",
    "above": "outside upper left",
    "right": "outside right upper",
}
_GENERAL_FORMAT = FuncFormatter(lambda value, _: f"{value:g}")

Subject = TypeVar("Subject")
Figures = Mapping[str, tuple[Callable[[Subject], Plot | None], str]]


def draw_all(
    figures: Figures[Subject], subject: Subject, formats: Sequence[str] = ("svg",), name: str = ""
) -> dict[str, Picture]:
    """Return by kind all figures that a subject has; the same subject gives the same bytes.

    Args:
        figures: (function from the subject to a plot or None, description) by kind
        subject: what the functions take, as a run
        formats: formats besides SVG: png, pdf
        name: the start of the files' names
    """
    plots = {kind: (make(subject), alt) for kind, (make, alt) in figures.items()}
    with figure_style():
        return {
            kind: render(draw(plot), f"{name}{kind}", alt, formats)
            for kind, (plot, alt) in plots.items()
            if plot
        }


def draw(plot: Plot) -> Figure:
    """Return a plot as a figure."""
    with figure_style():
        figure = new_figure(plot.width, plot.height)
        rows = math.ceil(len(plot.panels) / plot.columns)
        shared: dict[str, Any] = {"sharex": plot.common_x, "sharey": plot.common_y}
        layout: dict[str, Any] = {"squeeze": False, "height_ratios": plot.heights}
        grid = figure.subplots(rows, plot.columns, **shared, **layout)
        for axes in grid.flat[len(plot.panels) :]:
            axes.set_axis_off()
        for index, (axes, panel) in enumerate(zip(grid.flat, plot.panels, strict=False)):
            _draw_panel(axes, panel)
            if plot.common_x:
                axes.tick_params(labelbottom=index + plot.columns >= len(plot.panels))
        figure.suptitle(plot.title, fontsize=8, x=0.01, ha="left")
        figure.supxlabel(plot.xlabel, fontsize=8)
        figure.supylabel(plot.ylabel, fontsize=8)
        _draw_legend(figure, plot)
        figure.align_ylabels()
        return figure


def _draw_legend(figure: Figure, plot: Plot) -> None:
    if plot.legend == "best":
        figure.axes[0].legend(loc="best", frameon=True, edgecolor="none", framealpha=0.9)
    elif plot.legend == "rows":
        for axes in figure.axes[plot.columns - 1 :: plot.columns]:
            axes.legend(*_legend_entries([axes]), loc="upper left", bbox_to_anchor=(1, 1))
    elif plot.legend:
        look = {"loc": _OUTSIDE[plot.legend], "title": plot.legend_title or None}
        figure.legend(*_legend_entries(figure.axes), ncols=plot.legend_columns, **look)


def _legend_entries(panels: Sequence[Axes]) -> tuple[list[Any], list[str]]:
    """The handles and labels of some panels, each label once."""
    parts = [axes.get_legend_handles_labels() for axes in panels]
    handles = {name: handle for h, n in parts for handle, name in zip(h, n, strict=True)}
    return list(handles.values()), list(handles)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_facecolor(panel.background)
    if panel.grid:
        draw_grid(axes, panel.grid)
    for mark in panel.marks:
        _draw_mark(axes, mark)
    axes.set_aspect("equal" if panel.square else "auto")
    _draw_axis(axes, "x", panel.x)
    _draw_axis(axes, "y", panel.y)
    axes.set_title(panel.title, loc="left")
    if panel.y.names:
        axes.spines["left"].set_visible(False)
    if not panel.frame:
        axes.spines[:].set_visible(False)


def _draw_axis(axes: Axes, name: str, spec: Axis) -> None:
    axis = getattr(axes, f"{name}axis")
    step = math.ceil(len(spec.names) / spec.most_names) or 1
    more = f" (every {step}th named)" if step > 1 and spec.label else ""
    axis.set_label_text(f"{spec.label}{more}")
    if spec.names:
        slant: dict[str, Any] = {"ha": "right", "rotation_mode": "anchor"}
        axis.set_ticks(
            range(0, len(spec.names), step),
            spec.names[::step],
            rotation=spec.rotation,
            **slant if 0 < spec.rotation < 90 else {},
        )
        axis.set_tick_params(length=0)
    elif spec.hidden:
        axis.set_ticks([])
    else:
        steps = [1, 2, 2.5, 5, 10]
        axis.set_major_locator(MaxNLocator(spec.ticks, steps=steps, integer=spec.integer))
        axis.set_major_formatter(_GENERAL_FORMAT)
    axis.set_tick_params(labelsize=spec.size)
    if spec.limits:
        axes.set(**{f"{name}lim": spec.limits})


def _draw_mark(axes: Axes, mark: Mark) -> None:
    match mark:
        case Marks():
            _draw_points(axes, mark)
        case Band(x, low, high, color, label):
            look: dict[str, Any] = {"color": color, "alpha": 0.2, "linewidth": 0}
            axes.fill_between(x, low, high, label=label or None, **look)
        case Bars(positions, lengths, thickness, color, flat):
            (axes.barh if flat else axes.bar)(positions, lengths, thickness, color=color, alpha=0.5)
        case Rule(value, color, dash, label, width, flat):
            look = {"color": color, "linestyle": dash, "linewidth": width}
            (axes.axhline if flat else axes.axvline)(value, label=label or None, zorder=1, **look)
        case Matrix():
            _draw_matrix(axes, mark)
        case Text(x, y, text, size, align, base, color, boxed):
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            anchor: dict[str, Any] = {"ha": align, "va": base, "bbox": box if boxed else None}
            axes.text(x, y, text, fontsize=size, color=color, linespacing=1.1, zorder=5, **anchor)
        case Image(x, y, pixels):
            colors = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
            axes.imshow(colors, interpolation="none", extent=(x, x + 1, y + 1, y))


def _draw_points(axes: Axes, mark: Marks) -> None:
    x, y = np.asarray(mark.x, dtype=float), np.asarray(mark.y, dtype=float)
    if not (np.isfinite(x) & np.isfinite(y)).any():
        return
    error: dict[str, Any] = {}
    if mark.ends is not None:
        reach = np.abs(mark.ends - (x if mark.flat else y))
        error = {"xerr" if mark.flat else "yerr": reach}
    capsize, elinewidth = (2.5, 1.2) if len(x) <= 20 else (0, 0.8)
    line: dict[str, Any] = {
        "linestyle": mark.dash if mark.width else "none",
        "linewidth": mark.width,
    }
    marker: dict[str, Any] = {
        "marker": mark.marker,
        "markersize": mark.size,
        "markevery": mark.markevery,
    }
    face = "none" if mark.hollow else mark.color
    look: dict[str, Any] = {"alpha": mark.alpha, "zorder": mark.z, "label": mark.label or None}
    error |= {"capsize": capsize, "elinewidth": elinewidth}
    axes.errorbar(x, y, color=mark.color, markerfacecolor=face, **line, **marker, **look, **error)


def _draw_matrix(axes: Axes, mark: Matrix) -> None:
    gamma = 0.5 if mark.scale == "sqrt" else 1
    norm = LogNorm(*mark.limits) if mark.scale == "log" else PowerNorm(gamma, *mark.limits)
    rows, columns = mark.values.shape
    times = max(1, _SIDE // max(rows, columns))
    image = axes.imshow(
        mark.values.repeat(times, 0).repeat(times, 1),
        cmap=mark.colors,
        norm=norm,
        extent=mark.extent or (-0.5, columns - 0.5, rows - 0.5, -0.5),
        interpolation="none",
    )
    for (row, column), text in np.ndenumerate(mark.texts if mark.texts is not None else []):
        pixel = image.to_rgba(mark.values[row, column])
        color = "white" if np.dot(pixel[:3], (0.299, 0.587, 0.114)) < 0.55 else INK
        look: dict[str, Any] = {"color": color, "fontweight": "bold" if mark.bold else "normal"}
        axes.text(column, row, text, ha="center", va="center", fontsize=6.3, **look)
    if mark.bar:
        ticks = LogLocator(subs=(1, 2, 5)) if mark.scale == "log" else MaxNLocator(5)
        inset = axes.inset_axes((1.03, 0, 0.035, 1))
        bar = axes.figure.colorbar(image, cax=inset, ticks=ticks, format=_GENERAL_FORMAT)
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.set_label(mark.bar)
        bar.outline.set_visible(False)
