"""The curves of several rows of runs: mean and band over seeds, training beside validation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cifarlab.plots import spec
from cifarlab.plots.spec import Axis, Band, Mark, Marks, Panel, Plot, label
from cifarlab.run_folder.run_data import RunData

_LOOKS = {"train": ("--", 0.9), "val": ("-", 1.5)}  # dash and width of a line
_ROW_HEIGHT = 2.2  # inches of a pair of panels


def row_curves(rows: Mapping[str, Sequence[RunData]], baseline: str) -> Plot | None:
    """Return accuracy and loss by epoch of each row that has runs; None where none has two epochs.

    A pair of panels has the baseline and as many other rows as there are colours to tell them
    apart. Lines are means over seeds, solid of validation and dashed of training; bands reach from
    the least to the greatest of the seeds' validation values. A row without validation images has
    only its training curve, with a band.
    """
    rows_with_runs = {name: runs for name, runs in rows.items() if any(run.lines for run in runs)}
    if all(len(run.lines) < 2 for of_row in rows_with_runs.values() for run in of_row):
        return None
    panels = []
    for group in _split(rows_with_runs, baseline):
        for what, scale, unit in (("accuracy", 100, "%"), ("loss", 1, "nats")):
            marks = _marks(group, what, scale)
            panels.append(Panel(marks, Axis("epoch", integer=True), Axis(f"{what} ({unit})")))
    layout: dict[str, Any] = {"width": spec.WIDE, "height": 0.4 + _ROW_HEIGHT * len(panels) / 2}
    runs = [run for of_row in rows_with_runs.values() for run in of_row]
    held_out = any(not np.isnan(run.curve("val", "loss")).all() for run in runs)
    title = "solid: validation, dashed: training" if held_out else "training; none held out"
    return Plot(panels, **layout, columns=2, title=title, legend="rows")


def _split(
    rows: Mapping[str, Sequence[RunData]], baseline: str
) -> list[dict[str, Sequence[RunData]]]:
    """Return the rows in groups of at most as many as there are colours, the baseline in each."""
    first = {baseline: rows[baseline]} if baseline in rows else {}
    others, n_others = [name for name in rows if name not in first], len(spec.CYCLE) - len(first)
    starts = range(0, max(1, len(others)), n_others)
    return [first | {name: rows[name] for name in others[i : i + n_others]} for i in starts]


def _marks(rows: Mapping[str, Sequence[RunData]], what: str, scale: float) -> list[Mark]:
    marks: list[Mark] = []
    for index, (name, runs) in enumerate(rows.items()):
        color = spec.CYCLE[index]
        text = f"{label(name)} ({len(runs)})"
        curves = {split: _stack(runs, split, what) for split in _LOOKS}
        banded = "train" if np.isnan(curves["val"]).all() else "val"
        for split, (dash, width) in _LOOKS.items():
            curve = curves[split] * scale
            if np.isnan(curve).all():
                continue
            epochs = np.arange(1, curve.shape[1] + 1)
            if split == banded and len(runs) > 1:
                marks.append(Band(epochs, curve.min(0), curve.max(0), color))
            marks.append(Marks(epochs, curve.mean(0), text, color, width, dash))
    return marks


def _stack(runs: Sequence[RunData], split: str, what: str) -> np.ndarray:
    """The seeds' curves (n, E), as far as all of them reach."""
    shortest = min(len(run.lines) for run in runs)
    return np.stack([run.curve(split, what)[:shortest] for run in runs])
