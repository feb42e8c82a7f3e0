"""What weights, activations and gradients did over a run's epochs: see training/tensor_stats.py."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from cifarlab.plots.style import NARROW, WIDE, label, sheet
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import number

_MOST = 24  # panels of a figure; with more layers, evenly spread ones are shown
_ROWS = 80  # of a panel's heat map
_FEW = 20  # per cent of dead units that a colour scale reaches at least
_KEPT = 0.998  # share of the values that a panel's range holds


def weights(run: RunData) -> Figure | None:
    """Draw the distribution of each layer's weights by epoch; None where none was recorded."""
    return _distributions(run, "weights", "weight")


def activations(run: RunData) -> Figure | None:
    """Draw the distribution of what each activation layer puts out, by epoch."""
    return _distributions(run, "activations", "activation")


def signals(run: RunData) -> Figure | None:
    """Draw gradient norms and dead units, by layer and epoch."""
    gradients = _table(run, "weights", lambda entries: number(entries.get("grad_norm")))
    dead = _table(run, "activations", _dead)
    if len(run.tensor_stats) < 2 or gradients is None or dead is None:
        return None
    deepest = max(len(gradients[0]), len(dead[0]))
    figure = sheet(WIDE, 1.1 + 0.13 * max(deepest, 8))
    left, right = figure.subplots(1, 2)
    values = np.where(gradients[1] > 0, gradients[1], np.nan)
    known = values[np.isfinite(values)]
    norm = LogNorm(*_reach(known)) if len(known) else LogNorm(0.1, 1)
    _by_layer(left, run, gradients[0], values, norm, "gradient norm, last step of the epoch")
    percents = 100 * dead[1]
    most = max(_FEW, float(np.nanmax(percents, initial=0)))
    _by_layer(right, run, dead[0], percents, Normalize(0, most), "dead units (%)")
    return figure


def _reach(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest, never equal."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low / 2, 2 * high)


def _dead(entries: dict[str, Any]) -> float | None:
    pair = entries.get("dead")
    if not (isinstance(pair, list) and len(pair) == 2 and pair[1]):
        return None
    return number(pair[0] / pair[1])


def _table(
    run: RunData, part: str, value: Callable[[dict[str, Any]], float | None]
) -> tuple[list[str], np.ndarray] | None:
    """Return layer names (L) and a value for each layer and epoch (L, E), NaN for none."""
    names = _names(run, part)
    if not names:
        return None
    values = np.full((len(names), len(run.tensor_stats)), np.nan)
    for column, line in enumerate(run.tensor_stats):
        for row, name in enumerate(names):
            entries = dig(line, part, name)
            cell = value(entries) if isinstance(entries, dict) else None
            values[row, column] = np.nan if cell is None else cell
    return names, values


def _names(run: RunData, part: str) -> list[str]:
    entries = dig(run.tensor_stats[0], part) if run.tensor_stats else None
    return list(entries) if isinstance(entries, dict) else []


def _by_layer(
    axes: Axes, run: RunData, names: list[str], values: np.ndarray, norm: Normalize, title: str
) -> None:
    epochs = [line["epoch"] for line in run.tensor_stats]
    edges = np.append(np.array(epochs) - 0.5, epochs[-1] + 0.5)
    cmap = "viridis" if isinstance(norm, LogNorm) else "Oranges"
    mesh = axes.pcolormesh(edges, np.arange(len(names) + 1), values, cmap=cmap, norm=norm)
    mesh.set_rasterized(True)
    axes.set_facecolor("#e4e4e4")
    axes.invert_yaxis()
    step = math.ceil(len(names) / 40)
    positions = np.arange(0, len(names), step)
    size = 6.5 if len(names) <= 24 else 5.5
    axes.set_yticks(
        positions + 0.5, [label(_spoken(names[p]), 26) for p in positions], fontsize=size
    )
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_title(title, loc="left")
    ticks = LogLocator(subs=(1, 2, 5)) if isinstance(norm, LogNorm) else MaxNLocator(5)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30, ticks=ticks, format=plain)
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.outline.set_visible(False)


def _distributions(run: RunData, part: str, what: str) -> Figure | None:
    names = _names(run, part)
    if len(run.tensor_stats) < 2 or not names:
        return None
    positions = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MOST)).astype(int))
    columns = min(4, len(positions))
    rows = math.ceil(len(positions) / columns)
    width = WIDE if columns > 2 else NARROW
    figure = sheet(width, 0.55 + 1.15 * rows)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for number_, (axes, index) in enumerate(zip(panels.flat, positions, strict=False)):
        _panel(axes, run, part, names[index])
        axes.tick_params(labelbottom=number_ >= len(positions) - columns)
    for axes in panels.flat[len(positions) :]:
        axes.set_axis_off()
    figure.supxlabel("epoch (0: before the first step)", fontsize=8)
    figure.supylabel(f"{what}; dark: many", fontsize=8)
    return figure


def _panel(axes: Axes, run: RunData, part: str, name: str) -> None:
    """Draw each epoch a column, as dark as its values are dense, by the square root.

    The bin of an activation's zeros, which may hold most of them, is left out of the scale.
    """
    entries = {column: dig(line, part, name) for column, line in enumerate(run.tensor_stats)}
    histograms = {
        k: histogram
        for k, histogram in entries.items()
        if isinstance(histogram, dict) and histogram.get("counts")
    }
    epochs = [line["epoch"] for line in run.tensor_stats]
    axes.set_title(label(_spoken(name), 30), loc="left", fontsize=6.5, pad=2)
    axes.tick_params(labelsize=6)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    if not histograms:
        return
    low, high = _range(list(histograms.values()))
    grid = np.linspace(low, high, _ROWS + 1)
    scaled = np.full((_ROWS, len(entries)), np.nan)
    for column, histogram in histograms.items():
        fractions = _bin_fractions(histogram, grid)
        zeros = _holds_zero(histogram, grid) if part == "activations" else np.zeros(_ROWS, bool)
        peak = fractions[~zeros].max(initial=0) or fractions.max()
        scaled[:, column] = (fractions / peak).clip(max=1)
    image = colormaps["Blues"](np.sqrt(scaled))
    extent = (epochs[0] - 0.5, epochs[-1] + 0.5, low, high)
    axes.imshow(image, extent=extent, origin="lower", aspect="auto", interpolation="none")


def _range(histograms: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the range that a panel shows: all but the outermost values of every epoch."""
    ends = []
    for histogram in histograms:
        edges, cumulated = _cumulated(histogram)
        tail = (1 - _KEPT) / 2
        ends.append(np.interp((tail, 1 - tail), cumulated, edges))
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _bin_fractions(histogram: dict[str, Any], grid: np.ndarray) -> np.ndarray:
    """Return the fraction of a histogram's values in each cell of a grid."""
    edges, cumulated = _cumulated(histogram)
    return np.diff(np.interp(grid, edges, cumulated, left=0, right=1))


def _holds_zero(histogram: dict[str, Any], grid: np.ndarray) -> np.ndarray:
    """Return which cells of a grid meet the bin of a histogram that holds 0."""
    edges = np.linspace(histogram["low"], histogram["high"], len(histogram["counts"]) + 1)
    bin_ = int(np.clip(np.searchsorted(edges, 0, "right") - 1, 0, len(edges) - 2))
    return (grid[:-1] < edges[bin_ + 1]) & (grid[1:] > edges[bin_])


def _cumulated(histogram: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return a histogram's edges (B + 1), and the fraction of its values below each."""
    counts = np.array(histogram["counts"], dtype=float)
    edges = np.linspace(histogram["low"], histogram["high"], len(counts) + 1)
    return edges, np.concatenate([[0], counts.cumsum()]) / max(counts.sum(), 1)


def _spoken(name: str) -> str:
    """Return ``stages.stage2.0.branch.conv1`` as ``stage2.0 conv1``: where, and what."""
    parts = [part for part in name.split(".") if part not in ("stages", "blocks", "branch", "act")]
    what = 2 if parts[-1:] and parts[-1].isdigit() else 1  # groups.0.convs.1 has a number there
    return " ".join(".".join(some) for some in (parts[:-what], parts[-what:]) if some)
