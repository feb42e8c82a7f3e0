"""The reliability diagram: how often a network is right that says it is sure by so much."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.plots.style import BLUE, GREY, NARROW, VERMILION, label, sheet, tidy, with_margin
from cifarlab.run_folder.run_data import SPOKEN, RunData, dig
from cifarlab.system.formatting import number

ENOUGH = 10  # images in a bin; the accuracy of fewer says little


def reliability(run: RunData) -> Figure | None:
    """Draw accuracy over confidence by bin, before and after the temperature, and the bin sizes.

    None where calibration was not measured.
    """
    split = run.split(run.split_name)
    before, after = (filled(dig(split, part)) for part in ("calibration", "calibrated"))
    if not before:
        return None
    figure = sheet(NARROW, 4.2)
    axes, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]})
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    _line(axes, before, VERMILION, "o", f"as trained, {_error(split, 'calibration')}")
    if after:
        temperature = number(dig(split, "calibrated", "temperature")) or 1.0
        text = f"temperature {temperature:.2f}, {_error(split, 'calibrated')}"
        _line(axes, after, BLUE, "s", text)
    axes.set(ylabel="accuracy (%)", xlim=with_margin(0, 100), ylim=with_margin(0, 100))
    axes.legend(loc="best")
    axes.set_title(
        f"{label(run.data_name, 40)}, {SPOKEN[run.split_name or 'test']} split", loc="left"
    )
    total = sum(row["n"] for row in before)
    below.bar(
        [50 * (row["low"] + row["high"]) for row in before],
        [100 * row["n"] / total for row in before],
        width=[95 * (row["high"] - row["low"]) for row in before],
        color=VERMILION,
        alpha=0.55,
    )
    below.set(xlabel="confidence in the likeliest class (%)", ylabel="images (%)")
    for part in (axes, below):
        tidy(part, "both")
    figure.align_ylabels()
    return figure


def filled(calibration: Any) -> list[dict[str, Any]]:
    """Return the bins that hold images of a calibration in result.json; none of another."""
    bins = dig(calibration, "bins")
    rows = [row for row in bins if isinstance(row, dict)] if isinstance(bins, list) else []
    keys = ("low", "high", "n", "confidence", "accuracy")
    return [
        row for row in rows if row.get("n") and all(number(row.get(k)) is not None for k in keys)
    ]


def _line(axes: Axes, rows: list[dict[str, Any]], color: str, marker: str, text: str) -> None:
    """Draw a line through the bins with enough images; the others are pale dots."""
    sure = [row for row in rows if row["n"] >= ENOUGH]
    axes.plot(*_points(sure), color=color, marker=marker, label=text)
    few = [row for row in rows if row["n"] < ENOUGH]
    confidences, values = _points(few)
    axes.scatter(confidences, values, s=9, color=color, marker=marker, alpha=0.35, linewidths=0)


def _points(rows: list[dict[str, Any]]) -> list[np.ndarray]:
    return [100 * np.array([row[key] for row in rows]) for key in ("confidence", "accuracy")]


def _error(split: dict[str, Any], part: str) -> str:
    value = number(dig(split, part, "ece"))
    return "" if value is None else f"calibration error {100 * value:.1f}\u00a0%"
