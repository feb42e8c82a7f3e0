"""A search in four figures: all learning curves, the rungs, parallel coordinates, importance."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from cifarlab.experiments.search.record import Trial, trial_name
from cifarlab.experiments.search.results import SearchResults
from cifarlab.experiments.search.space import AnyDimension, Choice
from cifarlab.plots import spec
from cifarlab.plots.spec import Axis, Bars, Marks, Panel, Plot, Text, label
from cifarlab.recipes.scale import describe_scale

Item = TypeVar("Item")
_MARKERS = "osD^v"  # of the trials that a legend names
_MAX_MARKS = 12  # on one line
_LIMIT = 300  # trials in a figure, and decisions at a rung: more would hide each other
_UNSET = -0.16  # height of a line at a key that its trial does not have
_SPREAD = 0.06  # half the height over which lines through one choice are spread


def curves(results: SearchResults) -> Plot | None:
    """Draw training and validation accuracy of every trial by epoch, coloured by score."""
    scored = [r for r in results.rows if r.score is not None and results.logs[r.number].lines]
    if not scored:
        return None
    sample, lines = _select_rows(scored), []
    for index, (row, color) in enumerate(zip(sample, _colors(results, sample), strict=True)):
        log, marker = results.logs[row.number], _MARKERS[index : index + 1]
        train, val = (100 * log.curve(split, "accuracy") for split in ("train", "val"))
        best = f"{trial_name(row.number)}: {np.max(val):.2f}, {np.nanmax(train):.2f}"
        text = best if marker else ""
        look: dict[str, Any] = {"color": color, "z": 2 - index / len(sample)}  # the best on top
        mark_every, marker = -(-len(val) // _MAX_MARKS), marker or ("o" if len(val) < 3 else "")
        lines += [
            Marks(log.epochs, val, text, width=1.9, marker=marker, markevery=mark_every, **look),
            Marks(log.epochs, train, width=0.8, alpha=0.45, **look),
        ]
    axes = Axis("epoch", integer=True), Axis("accuracy (%): validation bold, training faint")
    panel = Panel(lines, *axes, _title(results, len(sample), len(scored)))
    heading = "highest validation,\ntraining (%)"
    return Plot([panel], width=spec.WIDE, height=3.9, legend="right", legend_title=heading)


def rungs(results: SearchResults) -> Plot | None:
    """Draw every decision: the score, and the cut-off that it was compared with."""
    decisions = [decision for row in results.rows for decision in row.rung_decisions]
    if not decisions:
        return None
    maximum = max(decision.n_reached for decision in decisions)
    numbers = [rung.rung for rung in results.rungs]
    sample = [v for n in numbers for v in _spread([d for d in decisions if d.rung == n], _LIMIT)]
    xs = [numbers.index(v.rung) - 0.18 + 0.36 * v.n_reached / (1 + maximum) for v in sample]
    marks = []
    for name, color, marker, size, scores in (
        ("went on", spec.BLUE, "o", 3.5, [None if v.stopped else v.score for v in sample]),
        ("stopped", spec.VERMILION, "x", 3.5, [v.score if v.stopped else None for v in sample]),
        ("needed", spec.INK, "_", 7, [v.cutoff for v in sample]),
    ):
        values = results.metric.factor * np.array(scores, dtype=float)
        marks.append(Marks(xs, values, name, color, marker=marker, size=size))
    names = [f"{rung.rung}\n{rung.n_stopped} of {rung.n_reached}" for rung in results.rungs]
    x = Axis("rung (epoch), trials stopped there", (-0.5, len(names) - 0.5), names)
    y = Axis(f"best validation {results.metric.axis} so far")
    title = _title(results, len(sample), len(decisions), "decisions")
    return Plot([Panel(marks, x, y, title)], legend="below", legend_columns=3)


def coordinates(results: SearchResults) -> Plot | None:
    """Draw a line per trial over one axis per key and one for the score, the best on top."""
    scored = [row for row in results.rows if row.is_ranked]
    if len(scored) < 2:
        return None
    sample, space, metric = _select_rows(scored), results.search.space, results.metric
    heights = [_heights(space[key], key, sample) for key in space]
    lines = np.stack([*heights, _relative_scores(results, sample)], axis=1)
    marks: list[spec.Mark] = []
    for index, (line, color) in enumerate(zip(lines, _colors(results, sample), strict=True)):
        width, alpha = (1.0, 0.7) if index else (2.4, 1.0)
        look: dict[str, Any] = {"width": width, "alpha": alpha, "z": 3 - index / len(sample)}
        marks.append(Marks(range(len(space) + 1), line, "", color, **look))
    for index, (key, dimension) in enumerate(space.items()):
        marks.append(Marks([index, index], [0, 1], color=spec.GREY, width=0.8, z=1))
        lacking = any(key not in row.params for row in sample)
        ends = [*dimension.ends, *([(_UNSET, "not set")] if lacking else [])]
        marks += [_text(index, height, name) for height, name in ends]
    for height, row in enumerate((sample[-1], sample[0])):
        marks.append(_text(len(space), height, metric.number(row.score)))
    names = [key.replace(".", ".\n") for key in space]
    x = Axis("", (-0.3, len(space) + 0.55), [*names, "score" + " (%)" * metric.percent])
    title = _title(results, len(sample), len(scored))
    panel = Panel(marks, x, Axis(hidden=True), title, grid="", frame=False)
    return Plot([panel], width=spec.WIDE, height=3.6)


def _text(index: int, height: float, text: str) -> Text:
    return Text(index + 0.04, height, label(text, 14), 7, base="center", boxed=True)


def _heights(dimension: AnyDimension, key: str, sample: Sequence[Trial]) -> np.ndarray:
    """Return where each trial's line crosses the key's axis, 0..1; the first row is the best.

    A trial without the key crosses below the axis. Lines through one choice are spread around it,
    the better the higher, so that they don't hide each other.
    """
    values = [row.params.get(key) for row in sample]
    heights = np.array([_UNSET if v is None else dimension.position(v) for v in values])
    spread = heights.copy()
    if isinstance(dimension, Choice):
        reach = min(_SPREAD, 0.3 / max(1, len(dimension.labeled_values) - 1))
        for height in np.unique(heights):
            indices = np.flatnonzero(heights == height)
            if len(indices) > 1:
                spread[indices] += np.linspace(reach, -reach, len(indices))
    return spread


def importance(results: SearchResults) -> Plot | None:
    """Draw each key's importance with its interval, and the level that chance reaches."""
    items = results.importance
    if not items:
        return None
    positions, fractions = range(len(items)), [item.fraction for item in items]
    ends = np.array([[item.low for item in items], [item.high for item in items]])
    chance = [min(item.chance, 1.0) for item in items]
    words = "reached by chance in 5 %"
    marks: list[spec.Mark] = [
        Bars(positions, fractions, 0.55, flat=True),
        Marks(fractions, positions, "95 % interval", spec.INK, ends=ends, flat=True),
        Marks(chance, positions, words, spec.VERMILION, marker="|", size=11),
    ]
    x = Axis("importance (fraction of all keys)", (0, 1))
    y = Axis("", (len(items) - 0.5, -0.5), [label(item.key) for item in items])
    height = 1.2 + 0.3 * len(items)
    return Plot([Panel(marks, x, y, grid="x")], height=height, legend="below", legend_columns=2)


# by file name: the function and the alt text
FIGURES: dict[str, tuple[Callable[[SearchResults], Plot | None], str]] = {
    "curves": (curves, "Accuracy of all trials by epoch: validation bold, training faint"),
    "rungs": (rungs, "Scores at each rung: which trials went on and which were stopped"),
    "coordinates": (coordinates, "Every trial's values and score as one line"),
    "importance": (importance, "Importance of each key with its 95 % interval"),
}


def _relative_scores(results: SearchResults, sample: Sequence[Trial]) -> np.ndarray:
    """Return each score from 0 (the worst) to 1 (the best); 1/2 where all are equal."""
    scores = np.array([results.metric.sign * (row.score or 0.0) for row in sample])
    return (scores - scores.min()) / np.ptp(scores) if np.ptp(scores) else 0.5 + 0 * scores


def _colors(results: SearchResults, sample: Sequence[Trial]) -> list[str]:
    """Return each score's colour: dark for the worst, bright but visible on white for the best."""
    return [to_hex(c) for c in colormaps["viridis"](0.8 * _relative_scores(results, sample))]


def _select_rows(rows: Sequence[Trial]) -> list[Trial]:
    """Return the rows that a figure draws, the best first: of too many, the best and a sample."""
    if len(rows) <= _LIMIT:
        return list(rows)
    best = _LIMIT // 3
    return [*rows[:best], *_spread(rows[best:], _LIMIT - best)]


def _spread(items: Sequence[Item], maximum: int) -> list[Item]:
    """Return at most ``maximum`` items, evenly spaced, including the first and the last."""
    positions = np.linspace(0, len(items) - 1, min(maximum, len(items)))
    return [items[index] for index in positions.round().astype(int)]


def _title(
    results: SearchResults, n_shown: int, n_total: int, what: str = "trials, best and others"
) -> str:
    title = f"{label(results.search.name, 40)}, {label(results.data, 40)}"
    if n_shown < n_total:
        title += f"; {n_shown:,} of {n_total:,} {what}"
    return title if results.scale == 1 else f"{title}\n{describe_scale(results.scale)}"
