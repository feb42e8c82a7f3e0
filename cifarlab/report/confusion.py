"""The confusion matrix of a run."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from cifarlab.plots.style import INK, NARROW, label, sheet
from cifarlab.report.tables import class_names, confusion_of, drawn_classes
from cifarlab.run_folder.run_data import SPOKEN, RunData

MOST_NUMBERED = 12  # classes; with more, a number no longer fits its cell
MOST_NAMED = 30  # classes; with more, names would touch
_CELL_PIXELS = 12
_TINT = {False: 0.22, True: 0.45}  # of the diagonal: pale, but small cells need more to be seen


def confusion(run: RunData) -> Figure | None:
    """Draw the row-normalised confusion matrix of the shown split; None where there is none.

    It has (K, K) cells, or those of ``drawn_classes`` where K is large. Errors have their own
    colour scale, by the square root up to the largest error: beside a diagonal near 100 % they
    would all look white. The diagonal is tinted by its own, pale scale.
    """
    counts = confusion_of(run)
    if counts is None:
        return None
    drawn = drawn_classes(counts)
    k = len(drawn)
    fractions = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[np.ix_(drawn, drawn)]
    wide = k > MOST_NUMBERED
    figure = sheet(6.6 if wide else NARROW, 5.7 if wide else 4.1)
    axes = figure.subplots()
    errors = fractions * (1 - np.eye(k))
    scale = ScalarMappable(PowerNorm(0.5, 0, 100 * max(errors.max(), 0.01)), colormaps["Oranges"])
    pixels = np.where(errors[..., None] > 0, scale.to_rgba(100 * errors), 1.0)
    pixels[np.arange(k), np.arange(k)] = colormaps["Blues"](0.08 + _TINT[wide] * np.diag(fractions))
    # sharp in every viewer, since those that enlarge an image may smooth it
    cells = np.round(255 * pixels).astype(np.uint8)
    big = cells.repeat(_CELL_PIXELS, 0).repeat(_CELL_PIXELS, 1)
    axes.imshow(big, extent=(0, k, k, 0), interpolation="none", aspect="equal")
    names = class_names(run, len(counts))
    _name_classes(axes, [names[number] for number in drawn])
    if k <= MOST_NUMBERED:
        _number_cells(axes, fractions, pixels)
    bar = figure.colorbar(scale, cax=axes.inset_axes((1.03, 0, 0.035, 1)))
    bar.set_label("errors, share of the true class (%)")
    bar.outline.set_visible(False)
    some = f", {k} of {len(counts):,} classes" if k < len(counts) else ""
    split = SPOKEN[run.split_name or "test"]
    axes.set_title(f"{label(run.data_name, 40)}, {split} split{some}", loc="left")
    return figure


def _name_classes(axes: Axes, names: list[str]) -> None:
    k = len(names)
    step = 1 if k <= MOST_NAMED else math.ceil(k / 20)
    positions = np.arange(0, k, step)
    size = 7.5 if k <= MOST_NUMBERED else 6.5
    texts = [label(names[position], 16) for position in positions]
    slanted = k <= MOST_NUMBERED and max(map(len, texts)) > 3
    rotation = 90 if k > MOST_NUMBERED else 45 if slanted else 0
    axes.set_xticks(
        positions + 0.5,
        texts,
        rotation=rotation,
        fontsize=size,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
    )
    axes.set_yticks(positions + 0.5, texts, fontsize=size)
    more = f" (every {step}th named)" if step > 1 else ""
    axes.set(xlabel=f"predicted class{more}", ylabel=f"true class{more}")
    if k <= MOST_NAMED:
        axes.set_xticks(np.arange(1, k), minor=True)
        axes.set_yticks(np.arange(1, k), minor=True)
        axes.grid(which="minor", color="white", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
    axes.tick_params(length=0 if k <= MOST_NAMED else 2)
    axes.spines[:].set_visible(k > MOST_NAMED)


def _number_cells(axes: Axes, fractions: np.ndarray, pixels: np.ndarray) -> None:
    """Write the percentage of the true class in each cell that is not empty."""
    for (row, column), value in np.ndenumerate(fractions):
        if value > 0:
            dark = pixels[row, column, :3] @ (0.299, 0.587, 0.114) < 0.55
            text = f"{100 * value:.1f}" if value < 0.9995 else "100"
            axes.text(
                column + 0.5,
                row + 0.5,
                text,
                ha="center",
                va="center",
                fontsize=6.3,
                color="white" if dark else INK,
                fontweight="bold" if row == column else "normal",
            )
