"""A search in four figures: all learning curves, the rungs, parallel coordinates, importance."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from cifarlab.experiments.search.folder import trial_name
from cifarlab.experiments.search.results import SearchResults, TrialRow
from cifarlab.experiments.search.space import AnyDimension, Choice
from cifarlab.experiments.writing import scale_words
from cifarlab.plots import spec

Item = TypeVar("Item")
_MARKERS = "osD^v"  # of the trials that a legend names
_MARKS = 12  # at most so many on a line
_DRAWN = 300  # trials of a figure, and decisions at a rung: of more nobody sees anything
_UNSET = -0.16  # where a line passes a key that its trial does not have
_SPREAD = 0.06  # how far, up and down, lines through one choice are spread


def curves(results: SearchResults) -> spec.Plot | None:
    """Training beside validation accuracy of every trial, coloured by score."""
    scored_rows = [
        row for row in results.rows if row.score is not None and row.trial.number in results.runs
    ]
    if not scored_rows:
        return None
    shown = _select_rows(scored_rows)
    lines = []
    for index, (row, color) in enumerate(zip(shown, _colors(results, shown), strict=True)):
        run, marker = results.runs[row.trial.number], _MARKERS[index : index + 1]
        train, val = (100 * run.curve(split, "accuracy") for split in ("train", "val"))
        text = f"{trial_name(row.trial.number)}: {np.max(val):.2f}, {np.nanmax(train):.2f}"
        z = 2 - index / len(shown)  # the best over all others
        lines += [
            spec.Marks(
                x=run.epochs, y=val, color=color, width=1.9, z=z, label=text if marker else "",
                marker=marker or ("o" if len(val) < 3 else ""), every=-(-len(val) // _MARKS),
            ),
            spec.Marks(x=run.epochs, y=train, color=color, width=0.8, alpha=0.45, z=z),
        ]  # fmt: skip
    x, y = (
        spec.Axis("epoch", integer=True),
        spec.Axis("accuracy (%): validation bold, training faint"),
    )
    panel = spec.Panel(lines, x, y, _title(results, len(shown), len(scored_rows)))
    heading = "highest validation,\ntraining (%)"
    return spec.Plot([panel], width=spec.WIDE, height=3.9, legend="right", legend_title=heading)


def rungs(results: SearchResults) -> spec.Plot | None:
    """Every decision: the score, and the cut-off that it met."""
    every = [decision for row in results.rows for decision in row.trial.rung_decisions]
    if not every:
        return None
    most = max(decision.n_reached for decision in every)
    rung_numbers = [rung.rung for rung in results.rungs]
    shown = [v for n in rung_numbers for v in _spread([d for d in every if d.rung == n], _DRAWN)]

    groups = (
        ("score", [v for v in shown if not v.stopped], spec.BLUE, "o", 3.5, "went on"),
        ("score", [v for v in shown if v.stopped], spec.VERMILION, "x", 3.5, "stopped"),
        ("cutoff", [v for v in shown if v.cutoff is not None], spec.INK, "_", 7, "needed"),
    )
    points = [
        spec.Marks(
            x=[rung_numbers.index(v.rung) + 0.36 * v.n_reached / (1 + most) - 0.18 for v in some],
            y=[results.metric.factor * getattr(v, what) for v in some],
            color=color, marker=marker, size=size, label=label,
        )
        for what, some, color, marker, size, label in groups
    ]  # fmt: skip
    names = [f"{rung.rung}\n{rung.n_stopped} of {rung.n_reached}" for rung in results.rungs]
    x = spec.Axis("rung (epoch), trials stopped there", (-0.5, len(names) - 0.5), names)
    title = _title(results, len(shown), len(every), "decisions")
    panel = spec.Panel(points, x, spec.Axis(f"best validation {results.metric.axis} so far"), title)
    return spec.Plot([panel], legend="below", legend_columns=3)


def coordinates(results: SearchResults) -> spec.Plot | None:
    """One axis per key and one for the score; a line per trial, the best drawn last."""
    scored_rows = [row for row in results.rows if row.score is not None and not row.trial.failure]
    if len(scored_rows) < 2:
        return None
    shown, space = _select_rows(scored_rows), results.search.space
    metric = results.metric
    scores = np.array([metric.sign * (row.score or 0.0) for row in shown])
    low, high = scores.min(), scores.max()
    last = (scores - low) / (high - low) if high > low else np.full(len(scores), 0.5)
    lines = np.stack([*(_heights(space[key], key, shown) for key in space), last], axis=1)
    marks: list[spec.Mark] = [
        spec.Marks(
            x=range(len(space) + 1), y=line, color=color, z=3 - index / len(shown),
            width=1.0 if index else 2.4, alpha=0.7 if index else 1.0,
        )
        for index, (line, color) in enumerate(zip(lines, _colors(results, shown), strict=True))
    ]  # fmt: skip
    for index, (key, dimension) in enumerate(space.items()):
        marks.append(spec.Marks(x=[index, index], y=[0, 1], color=spec.GREY, width=0.8, z=1))
        lacking = any(key not in row.trial.params for row in shown)
        ends = [*dimension.ends, *([(_UNSET, "not set")] if lacking else [])]
        marks += [_text(index, height, name) for height, name in ends]
    for n, value in enumerate((low, high)):
        marks.append(_text(len(space), n, metric.number(metric.sign * value)))
    score_name = "score (%)" if metric.percent else "score"
    names = [*(key.replace(".", ".\n") for key in space), score_name]
    panel = spec.Panel(
        marks,
        spec.Axis(limits=(-0.3, len(space) + 0.55), names=names),
        spec.Axis(hidden=True),
        _title(results, len(shown), len(scored_rows)),
        grid="",
        frame=False,
    )
    return spec.Plot([panel], width=spec.WIDE, height=3.6)


def _text(index: int, height: float, text: str) -> spec.Text:
    return spec.Text(index + 0.04, height, spec.label(text, 14), 7, base="center", boxed=True)


def _heights(dimension: AnyDimension, key: str, shown: Sequence[TrialRow]) -> list[float]:
    """Where each trial's line crosses the key's axis, 0..1; ``shown`` is sorted, the best first.

    Lines through one choice are spread around it, the better the higher, or they would hide
    each other.
    """
    heights = [
        dimension.position(row.trial.params[key]) if key in row.trial.params else _UNSET
        for row in shown
    ]
    if isinstance(dimension, Choice):
        reach = min(_SPREAD, 0.3 / max(1, len(dimension.labeled_values) - 1))
        for height, count in Counter(heights).items():
            spread = iter(np.linspace(reach, -reach, count) if count > 1 else [0.0])
            heights = [height + float(next(spread)) if h == height else h for h in heights]
    return heights


def importance(results: SearchResults) -> spec.Plot | None:
    """Each key's share with its interval, and what chance reaches."""
    items = results.importance
    if not items:
        return None
    at, fractions = range(len(items)), [item.fraction for item in items]
    ends = np.array([[item.low for item in items], [item.high for item in items]])
    chance = [min(item.chance, 1.0) for item in items]
    marks: list[spec.Mark] = [
        spec.Bars(at, fractions, 0.55, flat=True),
        spec.Marks(x=fractions, y=at, ends=ends, flat=True, color=spec.INK, label="95 % interval"),
        spec.Marks(
            x=chance, y=at, color=spec.VERMILION, marker="|", size=11,
            label="reached by chance in 5 %",
        ),
    ]  # fmt: skip
    x = spec.Axis("importance (share of all keys)", (0, 1))
    y = spec.Axis(limits=(len(items) - 0.5, -0.5), names=[spec.label(item.key) for item in items])
    height = 1.2 + 0.3 * len(items)
    return spec.Plot(
        [spec.Panel(marks, x, y, grid="x")], height=height, legend="below", legend_columns=2
    )


# by file name: what is drawn, and what it says in words
FIGURES: dict[str, tuple[Callable[[SearchResults], spec.Plot | None], str]] = {
    "curves": (curves, "Accuracy of all trials by epoch: validation bold, training faint"),
    "rungs": (rungs, "Scores at each rung: which trials went on and which were stopped"),
    "coordinates": (coordinates, "Every trial's values and score as one line"),
    "importance": (importance, "Importance of each key with its 95 % interval"),
}


def _colors(results: SearchResults, shown: Sequence[TrialRow]) -> list[str]:
    """Each score's colour: dark for the worst, bright but still seen on white for the best."""
    scores = [results.metric.sign * (row.score or 0.0) for row in shown]
    low, high = min(scores), max(scores)
    return [spec.viridis(0.8 * (score - low) / ((high - low) or 1.0)) for score in scores]


def _select_rows(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The rows, the best first, that a figure shows: of too many the best and some of the rest."""
    if len(rows) <= _DRAWN:
        return list(rows)
    best = _DRAWN // 3
    return [*rows[:best], *_spread(rows[best:], _DRAWN - best)]


def _spread(items: Sequence[Item], maximum: int) -> list[Item]:
    """So many of them at most, evenly spread, the first and the last among them."""
    positions = np.linspace(0, len(items) - 1, min(maximum, len(items)))
    return [items[index] for index in positions.round().astype(int)]


def _title(
    results: SearchResults, n_shown: int, n_total: int, what: str = "trials, best and others"
) -> str:
    title = f"{spec.label(results.search.name, 40)}, {spec.label(results.data, 40)}"
    if n_shown < n_total:
        title += f"; {n_shown:,} of {n_total:,} {what}"
    return title if results.scale == 1 else f"{title}\n{scale_words(results.scale)}"
