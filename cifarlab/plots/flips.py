"""Comparisons image by image as figures: which classes gain and lose, and the intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarlab.evaluation.by_image import QUESTIONS, ImageComparison
from cifarlab.plots import spec
from cifarlab.plots.spec import Axis, Bars, Marks, Panel, Plot, Rule, label
from cifarlab.run_folder.run_data import SPLIT_NAMES
from cifarlab.stats.flips import ClassFlips
from cifarlab.stats.paired import ALPHA

MOST_CLASSES = 30  # of more, those with the most flips are drawn
_COLUMNS = 3


def flips(comparisons: Sequence[ImageComparison]) -> Plot | None:
    """Return the images that flip in each class, gained to the right and lost to the left."""
    if not comparisons:
        return None
    by_name = [{row.name: row for row in c.flips.classes} for c in comparisons]
    names = _ranked_names([row for c in comparisons for row in c.flips.classes])
    y = Axis("", (len(names) - 0.4, -0.6), [label(name, 18) for name in names])
    panels = []
    for comparison, rows in zip(comparisons, by_name, strict=True):
        marks = _class_marks([rows[name] for name in names])
        panels.append(Panel(marks, Axis(), y, label(comparison.row), grid="x"))
    columns = min(_COLUMNS, len(panels))
    split, base = SPLIT_NAMES[comparisons[0].split], label(comparisons[0].baseline)
    return Plot(
        panels,
        width=spec.NARROW if columns == 1 else spec.WIDE,
        height=(1.2 + 0.2 * len(names)) * math.ceil(len(panels) / columns),
        columns=columns,
        common_x=True,
        common_y=True,
        xlabel=f"{split} images that became wrong (left) and right, from {base}, in a pair of runs",
        legend="above",
        legend_columns=2,
    )


def _ranked_names(rows: Sequence[ClassFlips]) -> list[str]:
    """Return the classes' names from the one that gains most to the one that loses most."""
    net, n_flips = dict[str, float](), dict[str, float]()
    for row in rows:
        net[row.name] = net.get(row.name, 0.0) + row.n_gained - row.n_lost
        n_flips[row.name] = n_flips.get(row.name, 0.0) + row.n_gained + row.n_lost
    flip_most = sorted(n_flips, key=lambda name: -n_flips[name])[:MOST_CLASSES]
    return sorted(flip_most, key=lambda name: -net[name])


def _class_marks(rows: Sequence[ClassFlips]) -> list[spec.Mark]:
    y = np.arange(len(rows))
    n_gained, n_lost = (
        np.array([row.n_gained for row in rows]),
        np.array([row.n_lost for row in rows]),
    )
    is_real = np.array([row.p is not None and row.p < ALPHA for row in rows])
    net = n_gained - n_lost
    look: dict[str, Any] = {"color": spec.INK, "marker": "o", "size": 4.0, "z": 4}
    return [
        Bars(y, n_gained, 0.7, spec.BLUE, flat=True),
        Bars(y, -n_lost, 0.7, spec.VERMILION, flat=True),
        Rule(0, spec.INK),
        Marks(np.where(is_real, net, math.nan), y, "gained less lost, p < 0.05 (Holm)", **look),
        Marks(np.where(is_real, math.nan, net), y, "gained less lost", hollow=True, **look),
    ]


def intervals(comparisons: Sequence[ImageComparison]) -> Plot | None:
    """Return the 95 % intervals of each difference, one for each question."""
    if not comparisons:
        return None
    metric, base = comparisons[0].metric, label(comparisons[0].baseline)
    panels = []
    for comparison in comparisons:
        of_row = comparison.intervals
        ends = metric.factor * np.array(
            [getattr(of_row, question) or (math.nan, math.nan) for question in QUESTIONS]
        )
        mean = np.full(len(QUESTIONS), metric.factor * of_row.mean)
        look: dict[str, Any] = {"ends": ends.T, "flat": True, "marker": "o", "size": 4.5}
        marks: list[spec.Mark] = [Rule(0, spec.INK), Marks(mean, range(len(QUESTIONS)), **look)]
        y = Axis("", (len(QUESTIONS) - 0.4, -0.6), list(QUESTIONS.values()))
        panels.append(Panel(marks, Axis(), y, label(comparison.row), grid="x"))
    return Plot(
        panels,
        height=0.55 + 0.95 * len(panels),
        common_x=True,
        xlabel=f"{metric.title} less that of {base}{' (points)' * metric.percent}, 95 % intervals",
    )


TITLES = {
    "flips": "Images that became right and wrong, by class",
    "intervals": "The difference's intervals over seeds, images and both",
}
