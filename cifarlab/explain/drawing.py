"""The architecture as a figure: a row for each stage, equal blocks once, numbers beside them."""

from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, Rectangle

from cifarlab.explain.structure import Architecture, BlockSummary, Stage
from cifarlab.models.outline import ABBREVIATIONS, Kind, LayerStep
from cifarlab.plots.spec import GREY, INK, label
from cifarlab.plots.style import sheet

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


def draw_architecture(architecture: Architecture, title: str) -> Figure:
    """Draw the whole network from top to bottom; its size follows from the number of stages."""
    widest = max(_chips_width(block) for stage in architecture.stages for block in stage.blocks)
    width = _NAMES + widest + _SHAPE + 2 * _NUMBER + 0.15
    notes = _notes(architecture, width)
    height = (
        _HEAD + sum(_height(stage) for stage in architecture.stages) + _FOOT * len(notes) + 0.08
    )
    figure = sheet(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    columns = (_NAMES, _NAMES + widest + _SHAPE, width - _NUMBER - 0.08, width - 0.08)
    _heading(axes, architecture, title, columns)
    top = _HEAD
    for index, stage in enumerate(architecture.stages):
        stage_height = _height(stage)
        axes.add_patch(Rectangle((0, top), width, stage_height, color=_TINT[index % 2], zorder=0))
        _stage(axes, stage, architecture, top, columns)
        top += stage_height
    for index, note in enumerate(notes):
        axes.text(0.08, top + 0.12 + _FOOT * index, note, fontsize=6, color=GREY, va="center")
    return figure


def _heading(
    axes: Axes, architecture: Architecture, title: str, columns: tuple[float, ...]
) -> None:
    height, width, channels = architecture.image_shape
    size_text = f"images {channels} × {height} × {width}"
    axes.text(
        0.08, 0.14, f"{label(title, 48)}, {size_text}", fontsize=8, va="center", weight="bold"
    )
    _, shape, parameters, operations = columns
    for x, texts in (
        (shape, "output"),
        (parameters, f"{architecture.parameters:,}\nparameters"),
        (operations, f"{format_count(architecture.multiply_adds)}\nmultiply-adds"),
    ):
        axes.text(x, _HEAD - 0.04, texts, fontsize=6.5, ha="right", va="bottom", linespacing=1.15)
    axes.plot([0, columns[-1] + 0.08], [_HEAD, _HEAD], color=INK, linewidth=0.7)


def _stage(
    axes: Axes, stage: Stage, architecture: Architecture, top: float, columns: tuple[float, ...]
) -> None:
    axes.text(0.08, top + _height(stage) / 2, stage.name, fontsize=8, va="center")
    left, *right = columns
    for block in stage.blocks:
        arc = _ARC if block.shortcut else 0.0
        middle = top + arc + _ROW / 2
        _block(axes, block, left, middle)
        texts = (
            " × ".join(map(str, block.shape)),
            f"{block.parameters:,}" if block.parameters else "—",
            format_count(block.multiply_adds) if block.multiply_adds else "—",
        )
        for x, text in zip(right, texts, strict=True):
            axes.text(x, middle, text, fontsize=7, ha="right", va="center")
        _draw_fraction(axes, right[1], middle, block.parameters / max(architecture.parameters, 1))
        _draw_fraction(
            axes, right[2], middle, block.multiply_adds / max(architecture.multiply_adds, 1)
        )
        top += arc + _ROW


def _draw_fraction(axes: Axes, right: float, middle: float, fraction: float) -> None:
    """A line under a number, as long as its fraction of the whole."""
    full = _NUMBER - 0.12
    box = Rectangle(
        (right - full * fraction, middle + 0.085), full * fraction, 0.03, color="#7fb2d6"
    )
    axes.add_patch(box)


def _block(axes: Axes, block: BlockSummary, left: float, middle: float) -> None:
    positions = _chip_positions(block, left)
    for (x, chip_width), step in zip(positions, block.steps, strict=True):
        _chip(axes, step, x, middle, chip_width)
    axes.plot([left - _GAP, left], [middle, middle], color=GREY, linewidth=0.6, zorder=1)
    for (x, chip_width), (after, _) in pairwise(positions):
        axes.plot([x + chip_width, after], [middle, middle], color=GREY, linewidth=0.6, zorder=1)
    if block.shortcut:
        _shortcut(axes, block, positions, middle)
    if block.times > 1:
        x, chip_width = positions[-1]
        axes.text(
            x + chip_width + 0.1, middle, f"× {block.times}", fontsize=9, va="center", weight="bold"
        )


def _chip(axes: Axes, step: LayerStep, x: float, middle: float, chip_width: float) -> None:
    style_options: dict[str, Any] = {
        "facecolor": _FILL[step.kind],
        "edgecolor": INK,
        "linewidth": 0.5,
        "zorder": 2,
    }
    box: Patch = Circle((x + chip_width / 2, middle), chip_width / 2, **style_options)
    if step.kind != "add":
        inner = (x + _ROUND, middle - _CHIP / 2 + _ROUND)
        box_style = f"round,pad={_ROUND}"
        box = FancyBboxPatch(
            inner, chip_width - 2 * _ROUND, _CHIP - 2 * _ROUND, boxstyle=box_style, **style_options
        )
    axes.add_patch(box)
    axes.text(
        x + chip_width / 2,
        middle,
        f"{step.text}\n{step.note}" if step.note else step.text,
        fontsize=6,
        ha="center",
        va="center",
        linespacing=1.05,
        zorder=3,
    )


def _shortcut(
    axes: Axes, block: BlockSummary, positions: list[tuple[float, float]], middle: float
) -> None:
    """A line around the layers, with what lies on it in words."""
    assert block.shortcut
    start, end, steps = block.shortcut
    a = positions[start][0] - _GAP / 2
    b = positions[end][0] + positions[end][1] / 2
    top = middle - _ROW / 2 - _ARC * 0.4
    axes.plot([a, a, b, b], [middle, top, top, middle - 0.1], color=GREY, linewidth=0.8, zorder=1)
    annotation = ", ".join(f"{s.text} {s.note}".strip().replace(", /", " /") for s in steps)
    if annotation:
        axes.text(
            (a + b) / 2,
            top,
            annotation,
            fontsize=6,
            ha="center",
            va="center",
            zorder=3,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": _FILL["conv"], "linewidth": 0.4},
        )


def _chip_positions(block: BlockSummary, left: float) -> list[tuple[float, float]]:
    """Left edge and width of each chip."""
    positions, x = [], left
    for step in block.steps:
        chip_width = _width(step)
        positions.append((x, chip_width))
        x += chip_width + _GAP
    return positions


def _width(step: LayerStep) -> float:
    if step.kind == "add":
        return 0.19
    return max(len(step.text), len(step.note)) * _LETTER + 0.11


def _chips_width(block: BlockSummary) -> float:
    times = 0.42 if block.times > 1 else 0.1
    return sum(_width(step) + _GAP for step in block.steps) + times


def _height(stage: Stage) -> float:
    return sum(_ROW + (_ARC if block.shortcut else 0) for block in stage.blocks) + 0.05


def _notes(architecture: Architecture, width: float) -> list[str]:
    """What the letters stand for, in lines that fit."""
    blocks = [block for stage in architecture.stages for block in stage.blocks]
    used = {step.text for block in blocks for step in block.steps}
    used |= {s.text for block in blocks if block.shortcut for s in block.shortcut.steps}
    texts = ["n×n, C, /s: a convolution of n × n pixels to C channels, every s-th pixel"]
    texts += [f"{short_}: {full}" for short_, full in ABBREVIATIONS.items() if short_ in used]
    if any(block.times > 1 for block in blocks):
        texts.append("× n: n such blocks, their numbers added up")
    lines = [""]
    for word in texts:
        longer = f"{lines[-1]}; {word}" if lines[-1] else word
        if len(longer) * _LETTER * 0.95 < width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def format_count(count: int) -> str:
    """253130752 as ``253 M``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return (
                f"{count / size:.3g}{unit}" if count / size < 999.5 else f"{count / size:.0f}{unit}"
            )
    return str(count)
