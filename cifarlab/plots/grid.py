"""Images beside each other with texts, as one panel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cifarlab.plots.spec import NARROW, WIDE, Axis, Image, Panel, Plot, Text

_GAP = 0.09  # inches between cells
_MAX_SIDE = 1.4  # inches, of an image
_PITCH = 1.03  # from one image of a cell to the next, in its side


class Cell(NamedTuple):
    """Square images uint8 (h, w, C) beside each other; a text over each, or one over all."""

    images: Sequence[np.ndarray]
    texts: Sequence[str] = ()


def make_grid(
    cells: Sequence[Cell],
    columns: int,
    title: str,
    *,
    row_names: Sequence[str] = (),
    max_side: float = _MAX_SIDE,
    width: float = WIDE,
) -> Plot:
    """Arrange cells in rows; lengths in the panel count sides of an image.

    Args:
        cells: one or more
        columns: cells in a row
        title: of the panel
        row_names: texts left of the rows
        max_side: of an image, in inches
        width: of the figure, in inches; figures of few cells are narrower
    """
    columns, rows = min(columns, len(cells)), -(-len(cells) // columns)
    cell_width = _PITCH * max(len(cell.images) for cell in cells)
    margin = 0.95 if row_names else 0.0
    side = min(max_side, ((width - margin) / columns - _GAP) / cell_width)
    n_lines = max((1 + text.count("\n") for cell in cells for text in cell.texts), default=0)
    x_step, y_step = cell_width + _GAP / side, 1 + (0.115 * n_lines + 0.1) / side
    left = -margin / side
    marks: list[Image | Text] = [
        Text(left, y_step * row + 0.5, name, 7, base="center") for row, name in enumerate(row_names)
    ]
    for index, cell in enumerate(cells):
        x, y = x_step * (index % columns), y_step * (index // columns)
        marks += [Image(x + _PITCH * n, y, image) for n, image in enumerate(cell.images)]
        for n, text in enumerate(cell.texts):
            center = x + _PITCH * len(cell.images) * (n + 0.5) / len(cell.texts)
            marks.append(Text(center, y - 0.03 / side, text, 6, "center"))
    right = max(x_step * columns, NARROW / side + left)
    top, bottom = 1 - y_step, y_step * (rows - 1) + 1
    axes = [Axis(limits=ends, hidden=True) for ends in ((left, right), (bottom, top))]
    panel = Panel(marks, axes[0], axes[1], title, grid="", square=True, frame=False)
    return Plot([panel], side * (right - left), 0.33 + side * (bottom - top))
