"""How the evidence grew: each row's difference and its interval after each pair of runs.

The interval at a look is what all looks so far have in common, so it can only become narrower; a
row is better or worse once it leaves zero out (of several rows, once it does so at Holm's level).
"""

import math

import numpy as np

from cifarlab.experiments.study.comparison import Comparison, ComparisonRow
from cifarlab.experiments.study.verdicts import describe_margin, is_single_look
from cifarlab.plots import spec
from cifarlab.plots.spec import Axis, Band, Mark, Marks, Panel, Plot, Rule, add_margin, label
from cifarlab.stats.sequential import sequential_interval

_COLUMNS = 3


def evidence(comparison: Comparison) -> Plot | None:
    """Return a panel for each row that is compared; None of one look, or before the first."""
    base = next(row.values for row in comparison.rows if row.name == comparison.baseline)
    panels = [
        _panel(comparison, row, np.array([v - base[s] for s, v in row.values.items() if s in base]))
        for row in comparison.rows
        if row.pairs and row.pairs.difference.interval and row.pairs.difference.std
    ]
    if not panels or is_single_look(comparison.plan):
        return None
    shared = "\nan interval is its row's own; p is corrected for all rows (Holm)"
    shared = shared if comparison.n_tests > 1 else ""
    n_columns = min(_COLUMNS, len(panels))
    return Plot(
        panels,
        width=spec.WIDE if n_columns > 1 else spec.NARROW,
        height=1.0 + 2.0 * math.ceil(len(panels) / n_columns),
        columns=n_columns,
        title=f"{label(comparison.title, 60)}, {label(comparison.data, 40)}{shared}",
        ylabel=f"difference from {label(comparison.baseline)}"
        + " (points)" * comparison.metric.percent,
        legend="below",
        legend_columns=2,
    )


def _panel(comparison: Comparison, row: ComparisonRow, differences: np.ndarray) -> Panel:
    metric, margin, n = comparison.metric, comparison.margin, len(differences)
    pairs = np.arange(1, n + 1)
    nothing = (math.nan, math.nan)
    intervals = [
        sequential_interval(differences[:k].tolist(), comparison.plan) or nothing for k in pairs
    ]
    low, high = metric.factor * np.array(intervals).T
    color = spec.BLUE if row.is_decided else spec.ORANGE
    points, means = metric.factor * differences, metric.factor * np.cumsum(differences) / pairs
    state = "decided" if row.is_decided else "undecided"
    marks: list[Mark] = [
        Rule(0, spec.INK, flat=True),
        Band(pairs, low, high, color),
        Marks(pairs, low, "", color, 0.8),
        Marks(pairs, high, "", color, 0.8),
        Marks(pairs, points, "a pair of runs", spec.GREY, marker="o", size=2.6),
        Marks(pairs, means, f"mean, 95 % interval valid at each look; {state}", color, 1.5),
    ]
    if margin is not None:
        text = f"margin, {describe_margin(margin, metric)}"
        marks += [
            Rule(metric.factor * end, spec.GREEN, "--", name, flat=True)
            for end, name in ((margin, text), (-margin, ""))
        ]
    x = Axis("pairs of runs", limits=(0.5, n + 0.5), integer=True)
    # the first intervals are so wide that nothing else could be seen: they go on beyond the panel
    edge = 0.0 if margin is None else metric.factor * margin
    least, most = min(-edge, *points, low[-1]), max(edge, *points, high[-1])
    y = Axis(limits=add_margin(float(least), float(most), 0.2))
    return Panel(marks, x, y, title=f"{label(row.name, 22)}: {row.verdict}")
