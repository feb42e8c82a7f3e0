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
from cifarlab.experiments.search.results import Explained, Row
from cifarlab.experiments.search.space import AnyDimension, Choice, LogUniform, Values
from cifarlab.experiments.search.trial_history import Verdict
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

One = TypeVar("One")
_MARKERS = "osD^v"  # of the trials that a legend names
_MARKS = 12  # at most so many on a line
_DRAWN = 300  # trials of a picture, and decisions at a rung: of more nobody sees anything
_MAP = colormaps["viridis"]
_UNSET = -0.16  # where a line passes a key that its trial does not have
_SPREAD = 0.06  # how far, up and down, lines through one choice are spread


def pictures(of: Explained, formats: Sequence[str] = ("svg",)) -> list[Picture]:
    """All that can be drawn, in these formats; the same search gives the same bytes."""
    drawings: tuple[tuple[str, Callable[[Explained], Figure | None], str], ...] = (
        ("curves", curves, "Accuracy of all trials by epoch: validation bold, training faint"),
        ("rungs", rungs, "Scores at each rung: which trials went on and which were stopped"),
        ("coordinates", coordinates, "Every trial's values and score as one line"),
        ("importance", importance, "Importance of each key with its 95 % interval"),
    )
    made = []
    with styled():
        for slug, draw, words in drawings:
            if figure := draw(of):
                made.append(render(figure, slug, words, formats))
    return made


def curves(of: Explained) -> Figure | None:
    """Training beside validation accuracy of every trial, coloured by score."""
    there = [row for row in of.rows if row.score is not None and row.trial.number in of.runs]
    if not there:
        return None
    shown = _drawn(there)
    figure = sheet(WIDE, 3.9)
    axes = figure.subplots()
    colour = _colours([row.score or 0.0 for row in shown])
    for place, row in reversed(list(enumerate(shown))):
        run, of_score = of.runs[row.trial.number], colour(row.score or 0.0)
        marker = _MARKERS[place : place + 1]
        train, val = (100 * run.curve(split, "accuracy") for split in ("train", "val"))
        axes.plot(run.epochs, train, color=of_score, linewidth=0.8, alpha=0.45)
        text = f"{trial_name(row.trial.number)}: {np.max(val):.2f}, {np.nanmax(train):.2f}"
        axes.plot(
            run.epochs,
            val,
            color=of_score,
            linewidth=1.9,
            marker=marker or ("o" if len(val) < 3 else ""),
            markevery=-(-len(val) // _MARKS),
            label=text if marker else None,
        )
    axes.set(xlabel="epoch", ylabel="accuracy (%): validation bold, training faint")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(_title(of, len(shown), len(there)), loc="left")
    handles, names = axes.get_legend_handles_labels()
    heading = "highest validation,\ntraining (%)"
    figure.legend(handles[::-1], names[::-1], title=heading, loc="outside right upper")
    tidy(axes)
    return figure


def rungs(of: Explained) -> Figure | None:
    """Every decision: the score, and the cut-off that it met."""
    if not of.verdicts:
        return None
    most = max(verdict.of for _, verdict in of.verdicts)
    met = [v for rung in of.rungs for v in _spread(_at(of, rung.rung), _DRAWN)]
    figure = sheet(NARROW, 3.4)
    axes = figure.subplots()
    places = {rung.rung: place for place, rung in enumerate(of.rungs)}
    for stopped, colour, marker, words in (
        (False, BLUE, "o", "went on"),
        (True, VERMILION, "x", "stopped"),
    ):
        group = [verdict for verdict in met if verdict.stopped == stopped]
        x = [places[v.rung] - 0.18 + 0.36 * v.of / (1 + most) for v in group]
        axes.plot(x, [100 * v.score for v in group], marker, color=colour, label=words)
    needed = [v for v in met if v.cutoff is not None]
    x = [places[v.rung] - 0.18 + 0.36 * v.of / (1 + most) for v in needed]
    axes.plot(
        x, [100 * (v.cutoff or 0) for v in needed], "_", color=INK, markersize=7, label="needed"
    )
    axes.set_xlim(-0.5, len(of.rungs) - 0.5)
    axes.set_xticks(range(len(of.rungs)), [f"{r.rung}\n{r.stopped} of {r.came}" for r in of.rungs])
    axes.set(xlabel="rung (epoch), trials stopped there", ylabel="best validation so far (%)")
    axes.set_title(_title(of, len(met), len(of.verdicts), "decisions"), loc="left")
    figure.legend(loc="outside lower center", ncols=3)
    tidy(axes)
    return figure


def _at(of: Explained, rung: int) -> list[Verdict]:
    return [verdict for _, verdict in of.verdicts if verdict.rung == rung]


def coordinates(of: Explained) -> Figure | None:
    """One axis per key and one for the score; a line per trial, the best drawn last."""
    there = [row for row in of.rows if row.score is not None and not row.trial.failure]
    if len(there) < 2:
        return None
    shown = _drawn(there)
    keys = list(of.search.space)
    figure = sheet(WIDE, 3.6)
    axes = figure.subplots()
    scores = [row.score or 0.0 for row in shown]
    low, high = min(scores), max(scores)
    colour = _colours(scores)
    columns = [_heights(of.search.space[key], key, shown) for key in keys]
    for place, score in reversed(list(enumerate(scores))):
        heights = [column[place] for column in columns]
        last = (score - low) / (high - low) if high > low else 0.5
        axes.plot(
            range(len(keys) + 1),
            [*heights, last],
            color=colour(score),
            linewidth=1.0 if place else 2.4,
            alpha=0.7 if place else 1.0,
        )
    for place, key in enumerate(keys):
        _axis(axes, place, of.search.space[key])
        if any(key not in row.trial.values for row in shown):
            _mark(axes, place, _UNSET, "not set")
    for height, value in ((0.0, low), (1.0, high)):
        _mark(axes, len(keys), height, f"{100 * value:.2f}")
    axes.set_xticks(range(len(keys) + 1), [*(key.replace(".", ".\n") for key in keys), "score (%)"])
    axes.set_xlim(-0.3, len(keys) + 0.55)
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(_title(of, len(shown), len(there)), loc="left")
    return figure


def _heights(dimension: AnyDimension, key: str, shown: Sequence[Row]) -> list[float]:
    """Where each trial's line crosses the key's axis, 0..1; ``shown`` is sorted, the best first.

    Lines through one choice are spread around it, the better the higher, or they would hide
    each other.
    """
    heights = [_height(dimension, key, row.trial.values) for row in shown]
    if isinstance(dimension, Choice):
        reach = min(_SPREAD, 0.3 / max(1, len(dimension.named) - 1))
        for height, count in Counter(heights).items():
            spread = iter(np.linspace(reach, -reach, count) if count > 1 else [0.0])
            heights = [height + float(next(spread)) if h == height else h for h in heights]
    return heights


def _height(dimension: AnyDimension, key: str, values: Values) -> float:
    """Where a value stands on its axis, 0..1; below it where the trial has none."""
    if key not in values:
        return _UNSET
    value = values[key]
    if isinstance(dimension, Choice):
        names = list(dimension.named)
        return names.index(value) / max(1, len(names) - 1)
    low, high = dimension.low, dimension.high
    if isinstance(dimension, LogUniform):
        return float(np.log(value / low) / np.log(high / low))
    return float((value - low) / (high - low))


def _axis(axes: Axes, place: int, dimension: AnyDimension) -> None:
    axes.plot([place, place], [0, 1], color=GREY, linewidth=0.8, zorder=1)
    if isinstance(dimension, Choice):
        names = list(dimension.named)
        for number, name in enumerate(names):
            _mark(axes, place, number / max(1, len(names) - 1), name)
    else:
        _mark(axes, place, 0, f"{dimension.low:g}")
        _mark(axes, place, 1, f"{dimension.high:g}")


def _mark(axes: Axes, place: int, height: float, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    axes.text(place + 0.04, height, label(text, 14), fontsize=7, va="center", bbox=box, zorder=5)


def importance(of: Explained) -> Figure | None:
    """Each key's share with its interval, and what chance reaches."""
    if not of.importance:
        return None
    figure = sheet(NARROW, 1.2 + 0.3 * len(of.importance))
    axes = figure.subplots()
    for place, one in enumerate(of.importance):
        axes.barh(place, one.share, color=BLUE, alpha=0.5, height=0.55)
        axes.plot([one.low, one.high], [place, place], color=INK, linewidth=1.2)
        axes.plot([min(one.chance, 1)], [place], "|", color=VERMILION, markersize=11)
    axes.plot([], [], color=INK, linewidth=1.2, label="95 % interval")
    axes.plot([], [], "|", color=VERMILION, markersize=9, label="reached by chance in 5 %")
    axes.set_yticks(range(len(of.importance)), [label(one.key) for one in of.importance])
    axes.invert_yaxis()
    axes.set(xlabel="importance (share of all keys)", xlim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2)
    tidy(axes, "x")
    return figure


def _colours(scores: Sequence[float]) -> Callable[[float], tuple[float, ...]]:
    """A score's colour: dark for the lowest, bright but still seen on white for the highest."""
    scale = Normalize(min(scores), max(scores) or 1.0)
    return lambda score: _MAP(0.8 * float(scale(score)))


def _drawn(rows: Sequence[Row]) -> list[Row]:
    """The rows, the best first, that a picture shows: of too many the best and some of the rest."""
    if len(rows) <= _DRAWN:
        return list(rows)
    best = _DRAWN // 3
    return [*rows[:best], *_spread(rows[best:], _DRAWN - best)]


def _spread(many: Sequence[One], most: int) -> list[One]:
    """So many of them at most, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(many) - 1, min(most, len(many)))
    return [many[place] for place in places.round().astype(int)]


def _title(of: Explained, shown: int, there: int, what: str = "trials, best and others") -> str:
    title = f"{label(of.search.name, 40)}, {label(of.data, 40)}"
    if shown < there:
        title += f"; {shown:,} of {there:,} {what}"
    return title if of.scale == 1 else f"{title}\n{scale_words(of.scale)}"
