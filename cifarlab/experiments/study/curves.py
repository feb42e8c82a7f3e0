"""The curves of a study's rows together: mean and band over seeds, training beside validation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cifarlab.experiments.study.comparison import Comparison
from cifarlab.plots import spec
from cifarlab.plots.spec import Axis, Band, Mark, Marks, Panel, Plot, label
from cifarlab.run_folder.run_data import RunData

_LOOKS = {"train": ("--", 0.9), "val": ("-", 1.5)}  # dash and width of a line


def curves(comparison: Comparison) -> Plot | None:
    """Return accuracy and loss by epoch of each row that has runs; None where none has.

    Lines are means over seeds, solid of validation and dashed of training; bands reach from the
    least to the greatest of the seeds' validation values. A row without validation images has its
    training curve alone.
    """
    rows = zip(comparison.rows, comparison.runs, strict=False)
    rows_with_runs = {row.name: runs for row, runs in rows if any(run.lines for run in runs)}
    if not rows_with_runs:
        return None
    panels = [
        Panel(_marks(rows_with_runs, "accuracy", 100), Axis(integer=True), Axis("accuracy (%)")),
        Panel(_marks(rows_with_runs, "loss", 1), Axis("epoch", integer=True), Axis("loss (nats)")),
    ]
    height = 4.6 + 0.18 * ((len(rows_with_runs) + 1) // 2)
    layout: dict[str, Any] = {"width": spec.WIDE, "height": height, "common_x": True}
    runs = [run for of_row in rows_with_runs.values() for run in of_row]
    held_out = any(not np.isnan(run.curve("val", "loss")).all() for run in runs)
    title = "solid: validation, dashed: training" if held_out else "training; none held out"
    return Plot(panels, **layout, title=title, legend="below", legend_columns=3)


def _marks(rows: Mapping[str, Sequence[RunData]], what: str, scale: float) -> list[Mark]:
    marks: list[Mark] = []
    for index, (name, runs) in enumerate(rows.items()):
        color = spec.CYCLE[index % len(spec.CYCLE)]
        text = f"{label(name)} ({len(runs)})"
        for split, (dash, width) in _LOOKS.items():
            curve = _stack(runs, split, what) * scale
            if np.isnan(curve).all():
                continue
            epochs = np.arange(1, curve.shape[1] + 1)
            if split == "val" and len(runs) > 1:
                marks.append(Band(epochs, curve.min(0), curve.max(0), color))
            marks.append(Marks(epochs, curve.mean(0), text, color, width, dash))
    return marks


def _stack(runs: Sequence[RunData], split: str, what: str) -> np.ndarray:
    """The seeds' curves (n, E), as far as all of them reach."""
    shortest = min(len(run.lines) for run in runs)
    return np.stack([run.curve(split, what)[:shortest] for run in runs])
