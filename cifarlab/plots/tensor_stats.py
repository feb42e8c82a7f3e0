"""Weights, activations and gradients over a run's epochs, of training/tensor_stats.py."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cifarlab.plots.spec import NARROW, WIDE, Axis, Matrix, Panel, Plot, label
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import number, pair

_MOST = 24  # panels of a figure; with more layers, evenly spread ones are shown
_ROWS = 80  # of a panel's heat map
_FEW = 20  # per cent of dead units that a colour scale reaches at least
_RANGE_FRACTION = 0.998  # fraction of the values that a panel's range holds


def weights(run: RunData) -> Plot | None:
    """Return the distribution of each layer's weights by epoch; None where none was recorded."""
    return _distributions(run, "weights", "weight")


def activations(run: RunData) -> Plot | None:
    """Return the distribution of each activation layer's output by epoch."""
    return _distributions(run, "activations", "activation")


def signals(run: RunData) -> Plot | None:
    """Return gradient norms and dead units, by layer and epoch."""
    gradients = _table(run, "weights", "grad_norm", number)
    dead = 100 * _table(run, "activations", "dead", _fraction)
    if len(run.tensor_stats) < 2 or not len(gradients) or not len(dead):
        return None
    gradients = np.where(gradients > 0, gradients, np.nan)
    finite_norms = gradients[np.isfinite(gradients)]
    low, high = (finite_norms.min(), finite_norms.max()) if len(finite_norms) else (0.1, 1.0)
    reach = (low, high) if high > low else (low / 2, 2 * high)
    most = max(_FEW, float(np.nanmax(dead, initial=0)))
    panels = []
    for part, title, values, colors, limits, scale in (
        ("weights", "gradient norm, last step of the epoch", gradients, "viridis", reach, "log"),
        ("activations", "dead units (%)", dead, "Oranges", (0, most), "linear"),
    ):
        names = [label(_spoken(name), 26) for name in _names(run, part)]
        extent = (*_epoch_ends(run), len(names) - 0.5, -0.5)
        matrix = Matrix(values, colors, limits, scale, extent, bar=" ")
        x, y = Axis("epoch", integer=True), Axis(names=names, size=6.5 if len(names) <= 24 else 5.5)
        panels.append(Panel([matrix], x, y, title, grid="", background="#e4e4e4"))
    height = 1.1 + 0.13 * max(len(gradients), len(dead), 8)
    return Plot(panels, width=WIDE, height=height, columns=2)


def _epoch_ends(run: RunData) -> tuple[float, float]:
    epochs = [line["epoch"] for line in run.tensor_stats]
    return epochs[0] - 0.5, epochs[-1] + 0.5


def _fraction(counts: Any) -> float | None:
    part, total = pair(counts)
    return part / total if part is not None and total else None


def _table(run: RunData, part: str, key: str, read: Callable[[Any], float | None]) -> np.ndarray:
    """Return a value for each layer and epoch (L, E), NaN where none was recorded."""
    names, lines = _names(run, part), run.tensor_stats
    rows = [[read(dig(line, part, name, key)) for line in lines] for name in names]
    return np.array(rows, dtype=float)


def _names(run: RunData, part: str) -> list[str]:
    return list(run.tensor_stats[0].get(part, {})) if run.tensor_stats else []


def _distributions(run: RunData, part: str, what: str) -> Plot | None:
    names = _names(run, part)
    if len(run.tensor_stats) < 2 or not names:
        return None
    indices = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MOST)).astype(int))
    columns = min(4, len(indices))
    return Plot(
        [_panel(run, part, names[index]) for index in indices],
        width=WIDE if columns > 2 else NARROW,
        height=0.55 + 1.15 * math.ceil(len(indices) / columns),
        columns=columns,
        common_x=True,
        xlabel="epoch (0: before the first step)",
        ylabel=f"{what}; dark: many",
    )


def _panel(run: RunData, part: str, name: str) -> Panel:
    """Return one layer's values by epoch as a heat map; color is the square root of the density.

    The y axis covers all values of every epoch but the outermost. The bin with an activation's
    zeros may hold most of the values, so the color scale leaves it out.
    """
    histograms = [_histogram(dig(line, part, name)) for line in run.tensor_stats]
    tail = (1 - _RANGE_FRACTION) / 2
    ends = [np.interp((tail, 1 - tail), c, edges) for edges, c in filter(None, histograms)]
    low, high = (float(np.min(ends)), float(np.max(ends))) if ends else (0.0, 1.0)
    if high == low:
        low, high = low - 0.5, high + 0.5
    grid = np.linspace(low, high, _ROWS + 1)
    densities = np.full((_ROWS, len(histograms)), np.nan)
    for column, histogram in enumerate(histograms):
        if histogram:
            edges, cumulative = histogram
            fractions = np.diff(np.interp(grid, edges, cumulative))
            zeros = _holds_zero(edges, grid) if part == "activations" else np.zeros(_ROWS, bool)
            peak = fractions[~zeros].max(initial=0) or fractions.max()
            densities[:, column] = (fractions / peak).clip(max=1)
    matrix = Matrix(densities[::-1], "Blues", (0, 1), "sqrt", (*_epoch_ends(run), low, high))
    x, y = Axis(integer=True, ticks=4, size=6), Axis(ticks=3, size=6)
    return Panel([matrix], x, y, label(_spoken(name), 30), grid="")


def _histogram(entry: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a histogram's edges (B + 1,), and the fraction of its values below each edge."""
    counts = np.array(dig(entry, "counts") or [], dtype=float)
    if not len(counts):
        return None
    edges = np.linspace(entry["low"], entry["high"], len(counts) + 1)
    return edges, np.append(0, counts.cumsum()) / max(counts.sum(), 1)


def _holds_zero(edges: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return which cells of a grid overlap the bin between two ``edges`` that holds 0."""
    bin_ = int(np.clip(np.searchsorted(edges, 0, "right") - 1, 0, len(edges) - 2))
    return (grid[:-1] < edges[bin_ + 1]) & (grid[1:] > edges[bin_])


def _spoken(name: str) -> str:
    """Return ``stages.stage2.0.branch.conv1`` as ``stage2.0 conv1``: the block and its module."""
    parts = [part for part in name.split(".") if part not in ("stages", "blocks", "branch", "act")]
    n = 2 if parts[-1:] and parts[-1].isdigit() else 1  # a module in a list, as groups.0.convs.1
    return " ".join(".".join(words) for words in (parts[:-n], parts[-n:]) if words)
