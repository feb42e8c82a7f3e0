"""The architecture as a figure: a row for each stage, equal blocks once, numbers beside them."""

import textwrap
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from cifarlab.explain.structure import Architecture, BlockSummary
from cifarlab.models.outline import ABBREVIATIONS, Kind, LayerStep
from cifarlab.plots.spec import GREY, INK, label

_FILL: dict[Kind, str] = {
    "conv": "#cfe3f1",
    "norm": "#ececec",
    "act": "#fbe6bf",
    "pool": "#cdeade",
    "linear": "#f3dbe7",
}
# inches
_NAMES, _SHAPE, _NUMBER = 0.78, 0.95, 0.86
_ROW, _ARC, _CHIP, _GAP, _LETTER = 0.36, 0.2, 0.27, 0.1, 0.052
_HEAD, _FOOT, _MARGIN, _ROUND = 0.52, 0.16, 0.08, 0.035
_TINT = ("#f6f7f8", "#ffffff")


def draw_architecture(architecture: Architecture, title: str) -> Figure:
    """Draw the whole network from top to bottom; more stages make the figure higher."""
    blocks = [block for stage in architecture.stages for block in stage.blocks]
    shapes = _NAMES + _SHAPE + max(map(_chips_width, blocks))
    columns = shapes, shapes + _NUMBER + 0.07, shapes + 2 * _NUMBER + 0.07  # their right edges
    width = columns[-1] + _MARGIN
    notes = _notes(blocks, width)
    heights = [sum(map(_height, stage.blocks)) + 0.05 for stage in architecture.stages]
    tops = list(accumulate(heights, initial=_HEAD))
    height = tops[-1] + _FOOT * len(notes) + _MARGIN
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    size = " × ".join(str(architecture.image_shape[axis]) for axis in (2, 0, 1))
    _text(axes, _MARGIN, 0.14, f"{label(title, 48)}, images {size}", 8, "left", weight="bold")
    sums = f"{architecture.parameters:,}", format_count(architecture.multiply_adds)
    heads = "output", f"{sums[0]}\nparameters", f"{sums[1]}\nmultiply-adds"
    for x, head in zip(columns, heads, strict=True):
        _text(axes, x, _HEAD - 0.04, head, 6.5, va="bottom", linespacing=1.15)
    axes.plot([0, width], [_HEAD, _HEAD], color=INK, linewidth=0.7)
    for index, (stage, top) in enumerate(zip(architecture.stages, tops, strict=False)):
        height, tint = heights[index], _TINT[index % 2]
        axes.add_patch(Rectangle((0, top), width, height, color=tint, zorder=0))
        _text(axes, _MARGIN, top + height / 2, stage.name, 8, "left")
        for block, bottom in zip(stage.blocks, accumulate(map(_height, stage.blocks)), strict=True):
            middle = top + bottom - _ROW / 2
            _draw_block(axes, block, middle)
            for x, (text, fraction) in zip(columns, _numbers(block, architecture), strict=True):
                _text(axes, x, middle, text, 7)
                length = (_NUMBER - 0.12) * fraction
                line = Rectangle((x - length, middle + 0.085), length, 0.03, color="#7fb2d6")
                axes.add_patch(line)
    for index, note in enumerate(notes):
        _text(axes, _MARGIN, tops[-1] + 0.12 + _FOOT * index, note, 6, "left", color=GREY)
    return figure


def _text(
    axes: Axes, x: float, y: float, text: str, size: float, ha: str = "right", **look: Any
) -> None:
    axes.text(x, y, text, fontsize=size, **{"ha": ha, "va": "center", **look})


def _numbers(block: BlockSummary, architecture: Architecture) -> list[tuple[str, float]]:
    """Return shape, parameters and multiply-adds as texts, each with its fraction of the total."""
    parameters = block.parameters / max(architecture.parameters, 1)
    multiply_adds = block.multiply_adds / max(architecture.multiply_adds, 1)
    return [
        (" × ".join(map(str, block.shape)), 0.0),
        (f"{block.parameters:,}" if parameters else "—", parameters),
        (format_count(block.multiply_adds) if multiply_adds else "—", multiply_adds),
    ]


def _draw_block(axes: Axes, block: BlockSummary, middle: float) -> None:
    """Draw the layers of a block from left to right, on a line."""
    lefts = list(accumulate((_width(step) + _GAP for step in block.steps), initial=_NAMES))
    for step, left in zip(block.steps, lefts, strict=False):
        _draw_chip(axes, step, left, middle)
    line: dict[str, Any] = {"color": GREY, "linewidth": 0.6, "zorder": 1}
    axes.plot([_NAMES - _GAP, lefts[-2]], [middle, middle], **line)
    if block.times > 1:
        _text(axes, lefts[-1], middle, f"× {block.times}", 9, "left", weight="bold")
    if block.shortcut:
        start, end, steps = block.shortcut
        a, b = lefts[start] - _GAP / 2, lefts[end] + _width(block.steps[end]) / 2
        top = middle - _ROW / 2 - _ARC * 0.4
        axes.plot([a, a, b, b], [middle, top, top, middle], **{**line, "linewidth": 0.8})
        if steps:
            annotation = ", ".join(f"{s.text} {s.note}".strip().replace(", /", " /") for s in steps)
            box = {"boxstyle": "round,pad=0.25", "facecolor": _FILL["conv"], "linewidth": 0.4}
            _text(axes, (a + b) / 2, top, annotation, 6, "center", zorder=3, bbox=box)


def _draw_chip(axes: Axes, step: LayerStep, left: float, middle: float) -> None:
    """Draw a layer as a box with rounded corners, an addition as a circle."""
    width, add = _width(step), step.kind == "add"
    height = width if add else _CHIP
    style = "circle,pad=0" if add else f"round,pad=0,rounding_size={_ROUND}"
    corner, fill = (left, middle - height / 2), _FILL.get(step.kind, "#ffffff")
    box = FancyBboxPatch(corner, width, height, boxstyle=style, fc=fill, ec=INK, lw=0.5, zorder=2)
    axes.add_patch(box)
    words = f"{step.text}\n{step.note}".strip()
    _text(axes, left + width / 2, middle, words, 6, "center", linespacing=1.05, zorder=3)


def _width(step: LayerStep) -> float:
    if step.kind == "add":
        return 0.19
    return max(len(step.text), len(step.note)) * _LETTER + 0.11


def _chips_width(block: BlockSummary) -> float:
    times = 0.42 if block.times > 1 else 0.1
    return sum(_width(step) + _GAP for step in block.steps) + times


def _height(block: BlockSummary) -> float:
    return _ROW + (_ARC if block.shortcut else 0)


def _notes(blocks: list[BlockSummary], width: float) -> list[str]:
    """Return what the abbreviations stand for, in lines of that width."""
    step_texts = {step.text for block in blocks for step in block.steps}
    step_texts |= {step.text for block in blocks if block.shortcut for step in block.shortcut.steps}
    texts = ["n×n, C, /s: a convolution of n × n pixels to C channels, every s-th pixel"]
    texts += [f"{key}: {name}" for key, name in ABBREVIATIONS.items() if key in step_texts]
    if any(block.times > 1 for block in blocks):
        texts.append("× n: n such blocks, their numbers added up")
    return textwrap.wrap("; ".join(texts), int(width / (_LETTER * 0.95)))


def format_count(count: int) -> str:
    """Write a count in three digits: 253130752 as ``253 M``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g}{unit}"
    return str(count)
