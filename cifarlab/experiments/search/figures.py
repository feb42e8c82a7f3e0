"""A search in four pictures: all learning curves, the rungs, parallel coordinates, importance."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cifarlab.experiments.search.folder import trial_name
from cifarlab.experiments.search.results import SearchResults, TrialRow
from cifarlab.experiments.search.space import AnyDimension, Choice, LogUniform, Params
from cifarlab.experiments.search.trial_history import RungDecision
from cifarlab.experiments.study.table import scale_words
from cifarlab.plots.style import (
    BLUE,
    GREY,
    INK,
    NARROW,
    VERMILION,
    WIDE,
    Picture,
    label,
    render,
    sheet,
    styled,
    tidy,
)

Item = TypeVar("Item")
_MARKERS = "osD^v"  # of the trials that a legend names
_MARKS = 12  # at most so many on a line
_DRAWN = 300  # trials of a picture, and decisions at a rung: of more nobody sees anything
_MAP = colormaps["viridis"]
_UNSET = -0.16  # where a line passes a key that its trial does not have
_SPREAD = 0.06  # how far, up and down, lines through one choice are spread


def pictures(results: SearchResults, formats: Sequence[str] = ("svg",)) -> list[Picture]:
    """All that can be drawn, in these formats; the same search gives the same bytes."""
    drawings: tuple[tuple[str, Callable[[SearchResults], Figure | None], str], ...] = (
        ("curves", curves, "Accuracy of all trials by epoch: validation bold, training faint"),
        ("rungs", rungs, "Scores at each rung: which trials went on and which were stopped"),
        ("coordinates", coordinates, "Every trial's values and score as one line"),
        ("importance", importance, "Importance of each key with its 95 % interval"),
    )
    drawn_pictures = []
    with styled():
        for slug, draw, caption in drawings:
            if figure := draw(results):
                drawn_pictures.append(render(figure, slug, caption, formats))
    return drawn_pictures


def curves(results: SearchResults) -> Figure | None:
    """Training beside validation accuracy of every trial, coloured by score."""
    scored_rows = [
        row for row in results.rows if row.score is not None and row.trial.number in results.runs
    ]
    if not scored_rows:
        return None
    shown = _select_rows(scored_rows)
    figure = sheet(WIDE, 3.9)
    axes = figure.subplots()
    sign = results.metric.sign
    color = _colors([sign * (row.score or 0.0) for row in shown])
    for index, row in reversed(list(enumerate(shown))):
        run, line_color = results.runs[row.trial.number], color(sign * (row.score or 0.0))
        marker = _MARKERS[index : index + 1]
        train, val = (100 * run.curve(split, "accuracy") for split in ("train", "val"))
        axes.plot(run.epochs, train, color=line_color, linewidth=0.8, alpha=0.45)
        text = f"{trial_name(row.trial.number)}: {np.max(val):.2f}, {np.nanmax(train):.2f}"
        axes.plot(
            run.epochs,
            val,
            color=line_color,
            linewidth=1.9,
            marker=marker or ("o" if len(val) < 3 else ""),
            markevery=-(-len(val) // _MARKS),
            label=text if marker else None,
        )
    axes.set(xlabel="epoch", ylabel="accuracy (%): validation bold, training faint")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(_title(results, len(shown), len(scored_rows)), loc="left")
    handles, names = axes.get_legend_handles_labels()
    heading = "highest validation,\ntraining (%)"
    figure.legend(handles[::-1], names[::-1], title=heading, loc="outside right upper")
    tidy(axes)
    return figure


def rungs(results: SearchResults) -> Figure | None:
    """Every decision: the score, and the cut-off that it met."""
    if not results.rung_decisions:
        return None
    maximum = max(decision.n_reached for _, decision in results.rung_decisions)
    decisions = [v for rung in results.rungs for v in _spread(_at(results, rung.rung), _DRAWN)]
    figure, factor = sheet(NARROW, 3.4), results.metric.factor
    axes = figure.subplots()
    positions = {rung.rung: index for index, rung in enumerate(results.rungs)}
    for stopped, color, marker, caption in (
        (False, BLUE, "o", "went on"),
        (True, VERMILION, "x", "stopped"),
    ):
        group = [decision for decision in decisions if decision.stopped == stopped]
        x = [positions[v.rung] - 0.18 + 0.36 * v.n_reached / (1 + maximum) for v in group]
        axes.plot(x, [factor * v.score for v in group], marker, color=color, label=caption)
    needed = [v for v in decisions if v.cutoff is not None]
    x = [positions[v.rung] - 0.18 + 0.36 * v.n_reached / (1 + maximum) for v in needed]
    axes.plot(
        x, [factor * (v.cutoff or 0) for v in needed], "_", color=INK, markersize=7, label="needed"
    )
    axes.set_xlim(-0.5, len(results.rungs) - 0.5)
    axes.set_xticks(
        range(len(results.rungs)),
        [f"{r.rung}\n{r.n_stopped} of {r.n_reached}" for r in results.rungs],
    )
    axes.set(
        xlabel="rung (epoch), trials stopped there",
        ylabel=f"best validation {results.metric.axis} so far",
    )
    axes.set_title(
        _title(results, len(decisions), len(results.rung_decisions), "decisions"), loc="left"
    )
    figure.legend(loc="outside lower center", ncols=3)
    tidy(axes)
    return figure


def _at(results: SearchResults, rung: int) -> list[RungDecision]:
    return [decision for _, decision in results.rung_decisions if decision.rung == rung]


def coordinates(results: SearchResults) -> Figure | None:
    """One axis per key and one for the score; a line per trial, the best drawn last."""
    scored_rows = [row for row in results.rows if row.score is not None and not row.trial.failure]
    if len(scored_rows) < 2:
        return None
    shown = _select_rows(scored_rows)
    keys = list(results.search.space)
    figure = sheet(WIDE, 3.6)
    axes = figure.subplots()
    metric = results.metric
    scores = [metric.sign * (row.score or 0.0) for row in shown]
    low, high = min(scores), max(scores)  # the better, the higher
    color = _colors(scores)
    columns = [_heights(results.search.space[key], key, shown) for key in keys]
    for index, value in reversed(list(enumerate(scores))):
        heights = [column[index] for column in columns]
        last = (value - low) / (high - low) if high > low else 0.5
        axes.plot(
            range(len(keys) + 1),
            [*heights, last],
            color=color(value),
            linewidth=1.0 if index else 2.4,
            alpha=0.7 if index else 1.0,
        )
    for index, key in enumerate(keys):
        _axis(axes, index, results.search.space[key])
        if any(key not in row.trial.params for row in shown):
            _mark(axes, index, _UNSET, "not set")
    for height, value in ((0.0, low), (1.0, high)):
        _mark(axes, len(keys), height, metric.number(metric.sign * value))
    score = "score (%)" if metric.percent else "score"
    axes.set_xticks(range(len(keys) + 1), [*(key.replace(".", ".\n") for key in keys), score])
    axes.set_xlim(-0.3, len(keys) + 0.55)
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(_title(results, len(shown), len(scored_rows)), loc="left")
    return figure


def _heights(dimension: AnyDimension, key: str, shown: Sequence[TrialRow]) -> list[float]:
    """Where each trial's line crosses the key's axis, 0..1; ``shown`` is sorted, the best first.

    Lines through one choice are spread around it, the better the higher, or they would hide
    each other.
    """
    heights = [_height(dimension, key, row.trial.params) for row in shown]
    if isinstance(dimension, Choice):
        reach = min(_SPREAD, 0.3 / max(1, len(dimension.labeled_values) - 1))
        for height, count in Counter(heights).items():
            spread = iter(np.linspace(reach, -reach, count) if count > 1 else [0.0])
            heights = [height + float(next(spread)) if h == height else h for h in heights]
    return heights


def _height(dimension: AnyDimension, key: str, values: Params) -> float:
    """Where a value stands on its axis, 0..1; below it where the trial has none."""
    if key not in values:
        return _UNSET
    value = values[key]
    if isinstance(dimension, Choice):
        names = list(dimension.labeled_values)
        return names.index(value) / max(1, len(names) - 1)
    low, high = dimension.low, dimension.high
    if isinstance(dimension, LogUniform):
        return float(np.log(value / low) / np.log(high / low))
    return float((value - low) / (high - low))


def _axis(axes: Axes, index: int, dimension: AnyDimension) -> None:
    axes.plot([index, index], [0, 1], color=GREY, linewidth=0.8, zorder=1)
    if isinstance(dimension, Choice):
        names = list(dimension.labeled_values)
        for number, name in enumerate(names):
            _mark(axes, index, number / max(1, len(names) - 1), name)
    else:
        _mark(axes, index, 0, f"{dimension.low:g}")
        _mark(axes, index, 1, f"{dimension.high:g}")


def _mark(axes: Axes, index: int, height: float, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    axes.text(index + 0.04, height, label(text, 14), fontsize=7, va="center", bbox=box, zorder=5)


def importance(results: SearchResults) -> Figure | None:
    """Each key's share with its interval, and what chance reaches."""
    if not results.importance:
        return None
    figure = sheet(NARROW, 1.2 + 0.3 * len(results.importance))
    axes = figure.subplots()
    for index, item in enumerate(results.importance):
        axes.barh(index, item.fraction, color=BLUE, alpha=0.5, height=0.55)
        axes.plot([item.low, item.high], [index, index], color=INK, linewidth=1.2)
        axes.plot([min(item.chance, 1)], [index], "|", color=VERMILION, markersize=11)
    axes.plot([], [], color=INK, linewidth=1.2, label="95 % interval")
    axes.plot([], [], "|", color=VERMILION, markersize=9, label="reached by chance in 5 %")
    axes.set_yticks(
        range(len(results.importance)), [label(item.key) for item in results.importance]
    )
    axes.invert_yaxis()
    axes.set(xlabel="importance (share of all keys)", xlim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2)
    tidy(axes, "x")
    return figure


def _colors(scores: Sequence[float]) -> Callable[[float], tuple[float, ...]]:
    """A score's colour: dark for the lowest, bright but still seen on white for the highest."""
    scale = Normalize(min(scores), max(scores))
    return lambda score: _MAP(0.8 * float(scale(score)))


def _select_rows(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The rows, the best first, that a picture shows: of too many the best and some of the rest."""
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
    title = f"{label(results.search.name, 40)}, {label(results.data, 40)}"
    if n_shown < n_total:
        title += f"; {n_shown:,} of {n_total:,} {what}"
    return title if results.scale == 1 else f"{title}\n{scale_words(results.scale)}"
