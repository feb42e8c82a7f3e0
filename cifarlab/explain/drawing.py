"""The architecture as a figure: a row for each stage, equal blocks once, numbers beside them."""

from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, Rectangle

from cifarlab.explain.steps import ABBREVIATIONS, Kind, Step
from cifarlab.explain.structure import Architecture, Block, Stage
from cifarlab.plots.style import GREY, INK, label, sheet

_FILL: dict[Kind, str] = {
    "conv": "#cfe3f1",
    "norm": "#ececec",
    "act": "#fbe6bf",
    "pool": "#cdeade",
    "linear": "#f3dbe7",
    "other": "#ffffff",
    "add": "#ffffff",
}
# inches
_NAMES, _SHAPE, _NUMBER = 0.78, 0.95, 0.86
_ROW, _ARC, _CHIP, _GAP, _LETTER = 0.36, 0.2, 0.27, 0.1, 0.052
_HEAD, _FOOT, _ROUND = 0.52, 0.16, 0.035
_TINT = ("#f6f7f8", "#ffffff")


def draw(of: Architecture, title: str) -> Figure:
    """The whole network from top to bottom; its size follows from the number of stages."""
    widest = max(_chips_width(block) for stage in of.stages for block in stage.blocks)
    width = _NAMES + widest + _SHAPE + 2 * _NUMBER + 0.15
    notes = _notes(of, width)
    height = _HEAD + sum(_height(stage) for stage in of.stages) + _FOOT * len(notes) + 0.08
    figure = sheet(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    columns = (_NAMES, _NAMES + widest + _SHAPE, width - _NUMBER - 0.08, width - 0.08)
    _heading(axes, of, title, columns)
    top = _HEAD
    for place, stage in enumerate(of.stages):
        high = _height(stage)
        axes.add_patch(Rectangle((0, top), width, high, color=_TINT[place % 2], zorder=0))
        _stage(axes, stage, of, top, columns)
        top += high
    for place, note in enumerate(notes):
        axes.text(0.08, top + 0.12 + _FOOT * place, note, fontsize=6, color=GREY, va="center")
    return figure


def _heading(axes: Axes, of: Architecture, title: str, columns: tuple[float, ...]) -> None:
    height, width, channels = of.image_shape
    told = f"images {channels} × {height} × {width}"
    axes.text(0.08, 0.14, f"{label(title, 48)}, {told}", fontsize=8, va="center", weight="bold")
    _, shape, parameters, operations = columns
    for x, words in (
        (shape, "output"),
        (parameters, f"{of.parameters:,}\nparameters"),
        (operations, f"{short(of.multiply_adds)}\nmultiply-adds"),
    ):
        axes.text(x, _HEAD - 0.04, words, fontsize=6.5, ha="right", va="bottom", linespacing=1.15)
    axes.plot([0, columns[-1] + 0.08], [_HEAD, _HEAD], color=INK, linewidth=0.7)


def _stage(
    axes: Axes, stage: Stage, of: Architecture, top: float, columns: tuple[float, ...]
) -> None:
    axes.text(0.08, top + _height(stage) / 2, stage.name, fontsize=8, va="center")
    left, *right = columns
    for block in stage.blocks:
        arc = _ARC if block.shortcut else 0.0
        middle = top + arc + _ROW / 2
        _block(axes, block, left, middle)
        words = (
            " × ".join(map(str, block.shape)),
            f"{block.parameters:,}" if block.parameters else "—",
            short(block.multiply_adds) if block.multiply_adds else "—",
        )
        for x, text in zip(right, words, strict=True):
            axes.text(x, middle, text, fontsize=7, ha="right", va="center")
        _share(axes, right[1], middle, block.parameters / max(of.parameters, 1))
        _share(axes, right[2], middle, block.multiply_adds / max(of.multiply_adds, 1))
        top += arc + _ROW


def _share(axes: Axes, right: float, middle: float, share: float) -> None:
    """A line under a number, as long as its share of the whole."""
    full = _NUMBER - 0.12
    box = Rectangle((right - full * share, middle + 0.085), full * share, 0.03, color="#7fb2d6")
    axes.add_patch(box)


def _block(axes: Axes, block: Block, left: float, middle: float) -> None:
    places = _places(block, left)
    for (x, wide), step in zip(places, block.steps, strict=True):
        _chip(axes, step, x, middle, wide)
    axes.plot([left - _GAP, left], [middle, middle], color=GREY, linewidth=0.6, zorder=1)
    for (x, wide), (after, _) in pairwise(places):
        axes.plot([x + wide, after], [middle, middle], color=GREY, linewidth=0.6, zorder=1)
    if block.shortcut:
        _shortcut(axes, block, places, middle)
    if block.times > 1:
        x, wide = places[-1]
        axes.text(
            x + wide + 0.1, middle, f"× {block.times}", fontsize=9, va="center", weight="bold"
        )


def _chip(axes: Axes, step: Step, x: float, middle: float, wide: float) -> None:
    look: dict[str, Any] = {
        "facecolor": _FILL[step.kind],
        "edgecolor": INK,
        "linewidth": 0.5,
        "zorder": 2,
    }
    box: Patch = Circle((x + wide / 2, middle), wide / 2, **look)
    if step.kind != "add":
        inner = (x + _ROUND, middle - _CHIP / 2 + _ROUND)
        style = f"round,pad={_ROUND}"
        box = FancyBboxPatch(inner, wide - 2 * _ROUND, _CHIP - 2 * _ROUND, boxstyle=style, **look)
    axes.add_patch(box)
    axes.text(
        x + wide / 2,
        middle,
        f"{step.text}\n{step.note}" if step.note else step.text,
        fontsize=6,
        ha="center",
        va="center",
        linespacing=1.05,
        zorder=3,
    )


def _shortcut(axes: Axes, block: Block, places: list[tuple[float, float]], middle: float) -> None:
    """A line around the layers, with what lies on it in words."""
    assert block.shortcut
    start, end, steps = block.shortcut
    a = places[start][0] - _GAP / 2
    b = places[end][0] + places[end][1] / 2
    top = middle - _ROW / 2 - _ARC * 0.4
    axes.plot([a, a, b, b], [middle, top, top, middle - 0.1], color=GREY, linewidth=0.8, zorder=1)
    words = ", ".join(f"{s.text} {s.note}".strip().replace(", /", " /") for s in steps)
    if words:
        axes.text(
            (a + b) / 2,
            top,
            words,
            fontsize=6,
            ha="center",
            va="center",
            zorder=3,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": _FILL["conv"], "linewidth": 0.4},
        )


def _places(block: Block, left: float) -> list[tuple[float, float]]:
    """Left edge and width of each chip."""
    places, x = [], left
    for step in block.steps:
        wide = _width(step)
        places.append((x, wide))
        x += wide + _GAP
    return places


def _width(step: Step) -> float:
    if step.kind == "add":
        return 0.19
    return max(len(step.text), len(step.note)) * _LETTER + 0.11


def _chips_width(block: Block) -> float:
    times = 0.42 if block.times > 1 else 0.1
    return sum(_width(step) + _GAP for step in block.steps) + times


def _height(stage: Stage) -> float:
    return sum(_ROW + (_ARC if block.shortcut else 0) for block in stage.blocks) + 0.05


def _notes(of: Architecture, width: float) -> list[str]:
    """What the letters stand for, in lines that fit."""
    blocks = [block for stage in of.stages for block in stage.blocks]
    used = {step.text for block in blocks for step in block.steps}
    used |= {s.text for block in blocks if block.shortcut for s in block.shortcut.steps}
    words = ["n×n, C, /s: a convolution of n × n pixels to C channels, every s-th pixel"]
    words += [f"{short_}: {full}" for short_, full in ABBREVIATIONS.items() if short_ in used]
    if any(block.times > 1 for block in blocks):
        words.append("× n: n such blocks, their numbers added up")
    lines = [""]
    for word in words:
        longer = f"{lines[-1]}; {word}" if lines[-1] else word
        if len(longer) * _LETTER * 0.95 < width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def short(count: int) -> str:
    """253130752 as ``253 M``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return (
                f"{count / size:.3g}{unit}" if count / size < 999.5 else f"{count / size:.0f}{unit}"
            )
    return str(count)
