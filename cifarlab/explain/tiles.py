"""Images and maps as tiles of a figure."""

import numpy as np
from matplotlib import colormaps

from cifarlab.explain.maps import upsample

_SIDE = 128  # pixels of a tile in a figure, about


def make_tile(image: np.ndarray) -> np.ndarray:
    """Enlarge an image uint8 (H, W, C), C 1 or 3, without smoothing: uint8 (h, w, 3)."""
    color = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image
    times = max(1, _SIDE // max(image.shape[:2]))
    return color.repeat(times, 0).repeat(times, 1)


def frame_tile(image: np.ndarray) -> np.ndarray:
    """Return an image uint8 (H, W, C) as a tile with a grey border."""
    tile = make_tile(image)
    edge = [0, 1, -2, -1]  # two pixels: one may vanish where the tile is drawn smaller
    tile[edge] = tile[:, edge] = 120
    return tile


def overlay_heatmap(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return an image as a tile with a map (h, w) over it, from 0 to the map's largest value."""
    base = make_tile(image).astype(np.float32) / 255
    grey = base @ np.array([0.299, 0.587, 0.114], np.float32)
    strength = upsample(heat[None], base.shape[:2])[0]
    color = colormaps["inferno"](0.1 + 0.72 * strength)[..., :3]
    opacity = (0.2 + 0.55 * strength)[..., None]
    mixed = (1 - opacity) * (0.35 * grey[..., None] + 0.65 * base) + opacity * color
    tile: np.ndarray = np.round(255 * mixed.clip(0, 1)).astype(np.uint8)
    return tile
