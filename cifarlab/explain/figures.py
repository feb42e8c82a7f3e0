"""Images, maps and filters beside each other, as figures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import nn

from cifarlab.explain.maps import upsample
from cifarlab.explain.sanity import RandomizationCheck
from cifarlab.models.normalizer_free import ScaledConv2d
from cifarlab.models.whitening import Whitening
from cifarlab.plots.draw import draw
from cifarlab.plots.spec import NARROW, WIDE, Axis, Image, Marks, Panel, Plot, Rule, Text, label

_SIDE = 128  # pixels of a tile in a figure, about
_GAP = 0.09  # inches between cells
_BESIDE = 1.03  # from one image of a cell to the next, in its height
_MOST_FILTERS = 64
_FEATURES = 10  # channels of each layer


class Cell(NamedTuple):
    """Square images uint8 (h, w, 3) beside each other, and words that stand over them."""

    images: Sequence[np.ndarray]
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


def make_grid(
    rows: Sequence[Sequence[Cell]],
    title: str,
    *,
    names: Sequence[str] = (),
    lines: int = 2,
    largest: float = 1.4,
) -> Figure:
    """Cells of equally many images in rows, ``lines`` of words over each; ``names`` left of rows.

    An image is at most ``largest`` inches high; lengths in the panel count such heights.
    """
    columns, wide = max(map(len, rows)), _BESIDE * len(rows[0][0].images)
    margin = 0.95 if names else 0.0
    side = min(largest, ((WIDE - margin) / columns - _GAP) / wide)
    step, down = wide + _GAP / side, 1 + (0.115 * lines + 0.1) / side
    left = -margin / side
    marks: list[Image | Text] = [
        Text(left, down * number + 0.5, name, 7, base="center") for number, name in enumerate(names)
    ]
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            x, y = step * column, down * number
            marks += [Image(x + _BESIDE * n, y, tile) for n, tile in enumerate(cell.images)]
            marks.append(Text(x + wide / 2, y - 0.03 / side, cell.text, 6, "center"))
    right = max(step * columns, NARROW / side + left)
    top, bottom = 1 - down, down * (len(rows) - 1) + 1
    x, y = Axis(limits=(left, right), hidden=True), Axis(limits=(bottom, top), hidden=True)
    panel = Panel(marks, x, y, title, grid="", square=True)
    return draw(Plot([panel], side * (right - left), 0.33 + side * (bottom - top)))


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
    cells = [Cell([_add_border(make_tile(kernel))]) for kernel in pixels]
    count, channels, side, _ = weight.shape
    some = "" if len(kernels) == count else f", the first {len(kernels)}"
    deep = f"{channels} channel{'' if channels == 1 else 's'}"
    text = f"{name}: {count} filters of {side} × {side} pixels, {deep}{some}"
    return make_grid(split_rows(cells, 16), text, lines=0), text


def _add_border(pixels: np.ndarray) -> np.ndarray:
    edged = pixels.copy()
    edge = [0, 1, -2, -1]  # two pixels: one may get lost where the tile is drawn smaller
    edged[edge] = edged[:, edge] = 120
    return edged


def draw_features(image: np.ndarray, maps: dict[str, np.ndarray], title: str) -> Figure:
    """An image's way through the network: of each layer the channels of the largest mean.

    ``maps`` are (C, h, w) by layer. Each channel has a grey scale of its own.
    """
    rows, names = [[Cell([make_tile(image)])]], ["image"]
    for name, channels in maps.items():
        means = np.abs(channels).mean((1, 2))
        kept = np.argsort(-means, kind="stable")[:_FEATURES]
        rows.append([Cell([_to_grey(channels[k])], f"{k}") for k in kept])
        count, height, width = channels.shape
        names.append(f"{name}\n{count} × {height} × {width}")
    return make_grid(rows, title, names=names, lines=1)


def _to_grey(channel: np.ndarray) -> np.ndarray:
    low, high = channel.min(), channel.max()
    grey = (channel - low) / (high - low if high > low else 1)
    return _add_border(make_tile(np.round(255 * grey).astype(np.uint8)[..., None]))


def draw_sanity_check(images: np.ndarray, check: RandomizationCheck, title: str) -> Figure:
    """Correlations with the trained network's maps by layer, over some of the maps."""
    count, rows = len(check.randomized), min(3, len(images))
    shown = np.unique(np.linspace(0, count, min(count + 1, 9)).astype(int))
    heads = ["image", "trained", *map(str, shown[1:])]
    marks: list[Image | Text] = [
        Text(_BESIDE * n + 0.5, -0.05, head, 7.5, "center") for n, head in enumerate(heads)
    ]
    for row, image in enumerate(images[:rows]):
        heats = [overlay_heatmap(image, check.maps[step, row].clip(min=0)) for step in shown]
        tiles = enumerate([make_tile(image), *heats])
        marks += [Image(_BESIDE * n, _BESIDE * row, tile) for n, tile in tiles]
    limits = (0, _BESIDE * len(heads)), (_BESIDE * rows, -0.35)
    x, y = (Axis(limits=ends, hidden=True) for ends in limits)
    low, middle, high = np.quantile(check.correlations, (0.25, 0.5, 0.75), axis=1)
    marker = "o" if count < 30 else ""
    line = Marks(
        x=np.arange(count + 1), y=middle, width=1.5, marker=marker, ends=np.stack([low, high])
    )
    lost = f"layers that lost their weights, from {label(check.randomized[0])} on"
    panels = [
        Panel(marks, x, y, title, grid="", square=True),
        Panel(
            [Rule(0, flat=True), line],
            Axis(lost, (-0.3, count + 0.3), integer=True),
            Axis("rank correlation", (-1.05, 1.05)),
        ),
    ]
    return draw(Plot(panels, WIDE, 2.4 + 0.75 * rows, heights=[0.75 * rows, 1.7]))
