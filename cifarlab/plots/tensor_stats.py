"""What weights, activations and gradients did over a run's epochs: see training/tensor_stats.py."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cifarlab.plots.spec import NARROW, WIDE, Axis, Matrix, Panel, Plot, label
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import number

_MOST = 24  # panels of a figure; with more layers, evenly spread ones are shown
_ROWS = 80  # of a panel's heat map
_FEW = 20  # per cent of dead units that a colour scale reaches at least
_KEPT = 0.998  # share of the values that a panel's range holds


def weights(run: RunData) -> Plot | None:
    """Return the distribution of each layer's weights by epoch; None where none was recorded."""
    return _distributions(run, "weights", "weight")


def activations(run: RunData) -> Plot | None:
    """Return the distribution of what each activation layer puts out, by epoch."""
    return _distributions(run, "activations", "activation")


def signals(run: RunData) -> Plot | None:
    """Return gradient norms and dead units, by layer and epoch."""
    gradients = _table(run, "weights", lambda entries: number(entries.get("grad_norm")))
    dead = 100 * _table(run, "activations", _dead)
    if len(run.tensor_stats) < 2 or not len(gradients) or not len(dead):
        return None
    gradients = np.where(gradients > 0, gradients, np.nan)
    known = gradients[np.isfinite(gradients)]
    low, high = (known.min(), known.max()) if len(known) else (0.1, 1.0)
    reach = (low, high) if high > low else (low / 2, 2 * high)
    most = max(_FEW, float(np.nanmax(dead, initial=0)))
    first, last = _epoch_ends(run)
    panels = []
    for part, title, values, colors, limits, scale in (
        ("weights", "gradient norm, last step of the epoch", gradients, "viridis", reach, "log"),
        ("activations", "dead units (%)", dead, "Oranges", (0, most), "linear"),
    ):
        names = [label(_spoken(name), 26) for name in _names(run, part)]
        extent = (first, last, len(names) - 0.5, -0.5)
        matrix = Matrix(
            values=values, colors=colors, limits=limits, scale=scale, extent=extent, bar=" "
        )
        y = Axis(names=names, size=6.5 if len(names) <= 24 else 5.5)
        x = Axis("epoch", integer=True)
        panels.append(Panel([matrix], x, y, title, grid="", background="#e4e4e4"))
    height = 1.1 + 0.13 * max(len(gradients), len(dead), 8)
    return Plot(panels, width=WIDE, height=height, columns=2)


def _epoch_ends(run: RunData) -> tuple[float, float]:
    epochs = [line["epoch"] for line in run.tensor_stats]
    return epochs[0] - 0.5, epochs[-1] + 0.5


def _dead(entries: dict[str, Any]) -> float | None:
    pair = entries.get("dead")
    if not (isinstance(pair, list) and len(pair) == 2 and pair[1]):
        return None
    return number(pair[0] / pair[1])


def _table(run: RunData, part: str, value: Callable[[dict[str, Any]], float | None]) -> np.ndarray:
    """Return a value for each layer and epoch (L, E), NaN for none."""

    def cell(entries: Any) -> float:
        known = value(entries) if isinstance(entries, dict) else None
        return math.nan if known is None else known

    lines = run.tensor_stats
    return np.array([[cell(dig(e, part, name)) for e in lines] for name in _names(run, part)])


def _names(run: RunData, part: str) -> list[str]:
    entries = dig(run.tensor_stats[0], part) if run.tensor_stats else None
    return list(entries) if isinstance(entries, dict) else []


def _distributions(run: RunData, part: str, what: str) -> Plot | None:
    names = _names(run, part)
    if len(run.tensor_stats) < 2 or not names:
        return None
    shown = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MOST)).astype(int))
    columns = min(4, len(shown))
    return Plot(
        [_panel(run, part, names[index]) for index in shown],
        width=WIDE if columns > 2 else NARROW,
        height=0.55 + 1.15 * math.ceil(len(shown) / columns),
        columns=columns,
        common_x=True,
        below="epoch (0: before the first step)",
        left=f"{what}; dark: many",
    )


def _panel(run: RunData, part: str, name: str) -> Panel:
    """Return each epoch as a column, as dark as its values are dense, by the square root.

    The bin of an activation's zeros, which may hold most of them, is left out of the scale.
    """
    entries = [dig(line, part, name) for line in run.tensor_stats]
    histograms = {
        column: histogram
        for column, histogram in enumerate(entries)
        if isinstance(histogram, dict) and histogram.get("counts")
    }
    low, high = _range(list(histograms.values())) if histograms else (0.0, 1.0)
    grid = np.linspace(low, high, _ROWS + 1)
    scaled = np.full((_ROWS, len(entries)), np.nan)
    for column, histogram in histograms.items():
        fractions = _bin_fractions(histogram, grid)
        zeros = _holds_zero(histogram, grid) if part == "activations" else np.zeros(_ROWS, bool)
        peak = fractions[~zeros].max(initial=0) or fractions.max()
        scaled[:, column] = (fractions / peak).clip(max=1)
    matrix = Matrix(
        values=scaled[::-1], colors="Blues", limits=(0, 1), scale="sqrt",
        extent=(*_epoch_ends(run), low, high),
    )  # fmt: skip
    x, y = Axis(integer=True, ticks=4, size=6), Axis(ticks=3, size=6)
    return Panel([matrix], x, y, label(_spoken(name), 30), grid="")


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
