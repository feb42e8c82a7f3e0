"""Images, maps and filters beside each other, as figures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from cifarlab.explain.maps import upsample
from cifarlab.explain.sanity import RandomizationCheck
from cifarlab.models.normalizer_free import ScaledConv2d
from cifarlab.models.whitening import Whitening
from cifarlab.plots.spec import BLUE, GREY, INK, NARROW, WIDE, label
from cifarlab.plots.style import sheet, tidy

_SIDE = 128  # pixels of a tile in a figure, about
_GAP = 0.09  # inches between cells
_MOST_FILTERS = 64
_FEATURES = 10  # channels of each layer


class Cell(NamedTuple):
    """Pixels uint8 (h, w, 3), and words that stand over them."""

    pixels: np.ndarray
    text: str = ""


def make_tile(image: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, C), C 1 or 3, enlarged without smoothing: uint8 (h, w, 3)."""
    color = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image
    times = max(1, _SIDE // max(image.shape[:2]))
    return color.repeat(times, 0).repeat(times, 1)


def overlay_heatmap(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image as a tile with a map (h, w), 0 to its largest value, laid over it."""
    base = make_tile(image).astype(np.float32) / 255
    grey = base @ np.array([0.299, 0.587, 0.114], np.float32)
    strength = upsample(heat[None], base.shape[:2])[0]
    color = colormaps["inferno"](0.1 + 0.72 * strength)[..., :3]
    opacity = (0.2 + 0.55 * strength)[..., None]
    mixed = (1 - opacity) * (0.35 * grey[..., None] + 0.65 * base) + opacity * color
    return np.round(255 * mixed.clip(0, 1)).astype(np.uint8)


def join_tiles(*tiles: np.ndarray) -> np.ndarray:
    """Tiles of one height in a row, with a little white between them."""
    gap = np.full((tiles[0].shape[0], 4, 3), 255, np.uint8)
    parts = [part for image_tile in tiles for part in (gap, image_tile)]
    return np.concatenate(parts[1:], 1)


def blank_sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure whose one axes count inches, right and down."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def make_grid(
    rows: Sequence[Sequence[Cell]],
    title: str,
    *,
    names: Sequence[str] = (),
    lines: int = 2,
    largest: float = 1.4,
) -> Figure:
    """Cells of one shape in rows, ``lines`` of words over each; ``names`` stand left of rows.

    A cell is at most ``largest`` inches high.
    """
    high, wide = rows[0][0].pixels.shape[:2]
    margin = 0.95 if names else 0.05
    columns = max(len(row) for row in rows)
    side = largest * wide / high
    width = min(WIDE, max(NARROW, margin + columns * (side + _GAP)))
    side = min((width - margin) / columns - _GAP, side)
    down, text_height = side * high / wide, 0.115 * lines + 0.04
    figure, axes = blank_sheet(width, 0.28 + len(rows) * (down + text_height + 0.06))
    axes.text(0.05, 0.13, title, fontsize=8, va="center")
    for number, row in enumerate(rows):
        top = 0.28 + number * (down + text_height + 0.06) + text_height
        if names:
            axes.text(0.05, top + down / 2, names[number], fontsize=7, va="center")
        for column, cell in enumerate(row):
            _cell(axes, cell, margin + column * (side + _GAP), top, side, down)
    return figure


def _cell(axes: Axes, cell: Cell, left: float, top: float, side: float, down: float) -> None:
    extent = (left, left + side, top + down, top)
    axes.imshow(cell.pixels, interpolation="none", extent=extent, aspect="auto")
    axes.text(
        left + side / 2,
        top - 0.03,
        cell.text,
        fontsize=6,
        ha="center",
        va="bottom",
        linespacing=1.1,
    )


def split_rows(cells: Sequence[Cell], across: int) -> list[list[Cell]]:
    """Cells cut into rows of at most so many."""
    return [list(cells[start : start + across]) for start in range(0, len(cells), across)]


def draw_filters(body: nn.Module) -> tuple[Figure, str] | None:
    """The first convolution's filters, in colour where it reads three channels; and words.

    None where there is no convolution.
    """
    layers = body.named_modules()
    convolutions = [(name, m) for name, m in layers if isinstance(m, nn.Conv2d | Whitening)]
    if not convolutions:
        return None
    name, module = convolutions[0]
    with torch.no_grad():
        weight = module.standardized_weight() if isinstance(module, ScaledConv2d) else module.weight
    weight = weight.detach().float().cpu()
    kernels = weight[:_MOST_FILTERS].permute(0, 2, 3, 1).numpy()
    if kernels.shape[-1] not in (1, 3):  # behind other layers
        kernels = kernels.mean(-1, keepdims=True)
    scale = np.abs(kernels).reshape(len(kernels), -1).max(1)[:, None, None, None]
    pixels = np.round(127.5 * (1 + kernels / np.maximum(scale, 1e-12))).astype(np.uint8)
    cells = [Cell(_add_border(make_tile(kernel))) for kernel in pixels]
    count, channels, side, _ = weight.shape
    some = "" if len(kernels) == count else f", the first {len(kernels)}"
    deep = f"{channels} channel{'' if channels == 1 else 's'}"
    text = f"{name}: {count} filters of {side} × {side} pixels, {deep}{some}"
    return make_grid(split_rows(cells, 16), text, lines=0), text


def _add_border(pixels: np.ndarray) -> np.ndarray:
    edged = pixels.copy()
    edged[[0, -1]] = edged[:, [0, -1]] = 120
    return edged


def draw_features(image: np.ndarray, maps: dict[str, np.ndarray], title: str) -> Figure:
    """An image's way through the network: of each layer the channels of the largest mean.

    ``maps`` are (C, h, w) by layer. Each channel has a grey scale of its own.
    """
    rows, names = [[Cell(make_tile(image))]], ["image"]
    for name, channels in maps.items():
        means = np.abs(channels).mean((1, 2))
        kept = np.argsort(-means, kind="stable")[:_FEATURES]
        rows.append([Cell(_to_grey(channels[k]), f"{k}") for k in kept])
        count, height, width = channels.shape
        names.append(f"{name}\n{count} × {height} × {width}")
    return make_grid(rows, title, names=names, lines=1)


def _to_grey(channel: np.ndarray) -> np.ndarray:
    low, high = channel.min(), channel.max()
    grey = (channel - low) / (high - low if high > low else 1)
    return _add_border(make_tile(np.round(255 * grey).astype(np.uint8)[..., None]))


def draw_sanity_check(images: np.ndarray, check: RandomizationCheck, title: str) -> Figure:
    """Correlations with the trained network's maps by layer, over some of the maps."""
    count = len(check.randomized)
    steps_shown = np.unique(np.linspace(0, count, min(count + 1, 9)).astype(int))
    examples = range(min(3, len(images)))
    figure = sheet(WIDE, 2.2 + 0.85 * len(examples))
    above, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": [0.85 * len(examples), 1.7]})
    for row in examples:
        tiles = [make_tile(images[row])]
        tiles += [
            overlay_heatmap(images[row], check.maps[step, row].clip(min=0)) for step in steps_shown
        ]
        strip = join_tiles(*tiles)
        above.imshow(strip, extent=(0, len(tiles), row + 0.98, row), aspect="auto")
    heads = ["image", "trained", *(str(step) for step in steps_shown[1:])]
    above.set(xlim=(0, len(heads)), ylim=(len(examples), 0))
    above.set_xticks(np.arange(len(heads)) + 0.5, heads)
    above.set_yticks([])
    above.tick_params(length=0, labeltop=True, labelbottom=False)
    above.spines[:].set_visible(False)
    above.set_title(title, loc="left")
    low, middle, high = np.quantile(check.correlations, (0.25, 0.5, 0.75), axis=1)
    steps = np.arange(count + 1)
    below.fill_between(steps, low, high, color=BLUE, alpha=0.2, linewidth=0)
    below.plot(steps, middle, color=BLUE, marker="o" if count < 30 else "")
    below.axhline(0, color=GREY, linewidth=0.8)
    below.set(ylabel="rank correlation", ylim=(-1.05, 1.05), xlim=(-0.3, count + 0.3))
    below.set_xlabel(f"layers that lost their weights, from {label(check.randomized[0])} on")
    tidy(below)
    below.tick_params(colors=INK)
    return figure
