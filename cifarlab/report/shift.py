"""Accuracy under corruptions as a heat map."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.plots.style import INK, NARROW, label, sheet
from cifarlab.run_folder.run_data import SPOKEN, RunData, dig
from cifarlab.system.formatting import count, number, percent


def corruption_rows(run: RunData) -> list[dict[str, Any]]:
    """Return the rows of the shift, as they were written; those of the usual form alone."""
    entries = dig(run.examined, "shift", "corruptions")
    rows = [row for row in entries if isinstance(row, dict)] if isinstance(entries, list) else []
    sound = []
    for row in rows:
        values = row.get("accuracy")
        if isinstance(values, list) and values and all(number(v) is not None for v in values):
            sound.append(row)
    return sound


def heat_map(run: RunData) -> Figure | None:
    """Draw corruptions by severity, accuracy in each cell; None where they were not measured."""
    rows = corruption_rows(run)
    if not rows or len({len(row["accuracy"]) for row in rows}) != 1:
        return None
    values = 100 * np.array([row["accuracy"] for row in rows])
    clean = number(dig(run.examined, "shift", "clean")) or 0.0
    figure = sheet(NARROW, 0.95 + 0.25 * len(rows))
    axes = figure.subplots()
    top = max(100 * clean, values.max())
    image = axes.imshow(
        values, cmap="viridis", vmin=min(values.min(), top - 1), vmax=top, aspect="auto"
    )
    _cells(axes, values, image.norm)
    _names(axes, rows)
    bar = figure.colorbar(image, ax=axes, pad=0.12, shrink=0.7, aspect=26)
    bar.set_label("accuracy (%)")
    bar.outline.set_visible(False)
    axes.set_title(_title(run, clean), loc="left")
    return figure


def _title(run: RunData, clean: float) -> str:
    split = SPOKEN.get(str(dig(run.examined, "split")), "")
    images, mean = (dig(run.examined, "shift", key) for key in ("n", "mean"))
    return (
        f"{label(run.data_name, 30)}, {split} split, n = {count(images)}\n"
        f"clean {percent(clean)}, corrupted {percent(mean)} on average"
    )


def _cells(axes: Axes, values: np.ndarray, norm: Any) -> None:
    for (row, column), value in np.ndenumerate(values):
        shade = colormaps["viridis"](norm(value))
        dark = np.array(shade[:3]) @ (0.299, 0.587, 0.114) < 0.5
        axes.text(
            column,
            row,
            f"{value:.1f}",
            ha="center",
            va="center",
            fontsize=6.5,
            color="white" if dark else INK,
        )
    for row, mean in enumerate(values.mean(1)):
        axes.text(values.shape[1] - 0.4, row, f"{mean:.1f}", va="center", fontsize=6.5)
    axes.text(values.shape[1] - 0.4, len(values) - 0.2, "mean", va="center", fontsize=6.5)


def _names(axes: Axes, rows: list[dict[str, Any]]) -> None:
    axes.set_yticks(range(len(rows)), [label(str(row.get("name")), 18) for row in rows])
    severities = range(len(rows[0]["accuracy"]))
    axes.set_xticks(severities, [str(index + 1) for index in severities])
    axes.set_xlabel("severity")
    families = [row.get("family") for row in rows]
    for row in range(1, len(rows)):
        if families[row] != families[row - 1]:
            axes.axhline(row - 0.5, color="white", linewidth=2.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
