"""Images and maps as tiles, and tiles beside each other as a figure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps

from cifarlab.explain.maps import upsample
from cifarlab.plots.spec import NARROW, WIDE, Axis, Image, Panel, Plot, Text

_SIDE = 128  # pixels of a tile in a figure, about
_GAP = 0.09  # inches between cells
_BESIDE = 1.03  # from one image of a cell to the next, in its height


class Cell(NamedTuple):
    """Square images uint8 (h, w, 3) beside each other; a text over each, or one over all."""

    images: Sequence[np.ndarray]
    texts: Sequence[str] = ()


def make_tile(image: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, C), C 1 or 3, enlarged without smoothing: uint8 (h, w, 3)."""
    color = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image
    times = max(1, _SIDE // max(image.shape[:2]))
    return color.repeat(times, 0).repeat(times, 1)


def frame_tile(image: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, C) as a tile with a grey border."""
    tile = make_tile(image)
    edge = [0, 1, -2, -1]  # two pixels: one may get lost where the tile is drawn smaller
    tile[edge] = tile[:, edge] = 120
    return tile


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
    cells: Sequence[Cell],
    across: int,
    title: str,
    *,
    names: Sequence[str] = (),
    lines: int = 2,
    largest: float = 1.4,
) -> Plot:
    """Cells in rows of so many, with ``lines`` of words over each; ``names`` stand left of rows.

    An image is at most ``largest`` inches high; lengths in the panel count such heights.
    """
    columns, rows = min(across, len(cells)), -(-len(cells) // across)
    wide = _BESIDE * max(len(cell.images) for cell in cells)
    margin = 0.95 if names else 0.0
    side = min(largest, ((WIDE - margin) / columns - _GAP) / wide)
    step, down = wide + _GAP / side, 1 + (0.115 * lines + 0.1) / side
    left = -margin / side
    marks: list[Image | Text] = [
        Text(left, down * row + 0.5, name, 7, base="center") for row, name in enumerate(names)
    ]
    for index, cell in enumerate(cells):
        x, y = step * (index % across), down * (index // across)
        marks += [Image(x + _BESIDE * n, y, tile) for n, tile in enumerate(cell.images)]
        for n, text in enumerate(cell.texts):
            center = x + _BESIDE * len(cell.images) * (n + 0.5) / len(cell.texts)
            marks.append(Text(center, y - 0.03 / side, text, 6, "center"))
    right = max(step * columns, NARROW / side + left)
    top, bottom = 1 - down, down * (rows - 1) + 1
    axes = [Axis(limits=ends, hidden=True) for ends in ((left, right), (bottom, top))]
    panel = Panel(marks, axes[0], axes[1], title, grid="", square=True, frame=False)
    return Plot([panel], side * (right - left), 0.33 + side * (bottom - top))
