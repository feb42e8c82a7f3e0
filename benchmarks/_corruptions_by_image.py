"""The fifteen corruptions one image at a time, as they are usually written: NumPy, SciPy, Pillow.

No pixel loop where a library has a function. Severity 3; draws are part of it.
"""

import io
import math

import numpy as np
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

Pixels = np.ndarray
DRAWS = np.random.default_rng(0)


def gaussian_noise(x: Pixels) -> Pixels:
    """Added noise."""
    return x + DRAWS.normal(0, 0.08, x.shape)


def shot_noise(x: Pixels) -> Pixels:
    """Photons."""
    return DRAWS.poisson(x * 100) / 100


def impulse_noise(x: Pixels) -> Pixels:
    """Salt and pepper."""
    chances = DRAWS.random(x.shape)
    return np.where(chances < 0.015, 0.0, np.where(chances >= 0.985, 1.0, x))


def defocus_blur(x: Pixels) -> Pixels:
    """A disc."""
    kernel = np.exp(-0.5 * (np.arange(-1, 2) / 0.6) ** 2)
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    return ndimage.correlate(x, kernel[..., None], mode="mirror")


def glass_blur(x: Pixels) -> Pixels:
    """Exchanged pixels."""
    x = ndimage.gaussian_filter(x, (0.4, 0.4, 0), mode="nearest")
    for h in range(31, 1, -1):
        for w in range(31, 1, -1):
            down, right = DRAWS.integers(-1, 1, 2)
            neighbor = (h + down, w + right)
            x[h, w], x[neighbor] = x[neighbor].copy(), x[h, w].copy()
    return ndimage.gaussian_filter(x, (0.4, 0.4, 0), mode="nearest")


def _line(radius: int, sigma: float, angle: float) -> Pixels:
    """A kernel with half a Gaussian along a line from its middle."""
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1))
    for i in range(2 * radius + 1):
        row = 2 * radius + math.ceil(i * math.sin(angle) - 0.5)
        column = 2 * radius + math.ceil(i * math.cos(angle) - 0.5)
        kernel[row, column] += math.exp(-0.5 * (i / sigma) ** 2)
    return kernel / kernel.sum()


def motion_blur(x: Pixels) -> Pixels:
    """A line."""
    kernel = _line(6, 2, math.radians(DRAWS.uniform(-45, 45)))
    return ndimage.correlate(x, kernel[..., None], mode="nearest")


def _magnify(x: Pixels, factor: float) -> Pixels:
    part = math.ceil(32 / factor)
    top = (32 - part) // 2
    part_of_image = x[top : top + part, top : top + part]
    magnified = ndimage.zoom(part_of_image, (factor, factor, 1), order=1)
    spare = (len(magnified) - 32) // 2
    return magnified[spare : spare + 32, spare : spare + 32]


def zoom_blur(x: Pixels) -> Pixels:
    """Magnified copies."""
    factors = np.arange(1, 1.16, 0.01)
    return (x + sum(_magnify(x, factor) for factor in factors)) / (len(factors) + 1)


def snow(x: Pixels) -> Pixels:
    """Flakes."""
    layer = _magnify(DRAWS.normal(0.15, 0.3, (32, 32, 1)), 1.75)
    layer = np.where(layer < 0.55, 0.0, layer).clip(0, 1)
    kernel = _line(10, 4, math.radians(DRAWS.uniform(-135, -45)))
    layer = ndimage.correlate(layer, kernel[..., None], mode="nearest")
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    return 0.9 * x + 0.1 * np.maximum(x, grey * 1.5 + 0.5) + layer + np.rot90(layer, 2)


def frost(x: Pixels) -> Pixels:
    """Ice."""
    ice = np.zeros((32, 32))
    for octave, side in enumerate((3, 5, 9, 17)):
        fine = ndimage.zoom(DRAWS.random((side, side)), 32 / side, order=1)
        ice += (1 - abs(2 * fine - 1)) ** 2 / 2**octave
    ice = (ice - ice.min()) / np.ptp(ice)
    return 0.9 * x + 0.4 * ice[..., None] * [0.82, 0.92, 1.0]


def fog(x: Pixels) -> Pixels:
    """Plasma."""
    heights, step, weight = np.zeros((32, 32)), 32, 1.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        square = corners + np.roll(corners, -1, 0)
        shape = corners.shape
        square = square + np.roll(square, -1, 1)
        heights[half::step, half::step] = square / 4 + weight * DRAWS.uniform(-1, 1, shape)
        centres = heights[half::step, half::step]
        sums = corners + np.roll(corners, -1, 1) + centres + np.roll(centres, 1, 0)
        heights[::step, half::step] = sums / 4 + weight * DRAWS.uniform(-1, 1, shape)
        sums = corners + np.roll(corners, -1, 0) + centres + np.roll(centres, 1, 1)
        heights[half::step, ::step] = sums / 4 + weight * DRAWS.uniform(-1, 1, shape)
        step, weight = half, weight / 2.5**2
    layer = (heights - heights.min()) / np.ptp(heights)
    return (x + 0.75 * layer[..., None]) * x.max() / (x.max() + 0.75)


def brightness(x: Pixels) -> Pixels:
    """More value."""
    hsv = rgb_to_hsv(x)
    hsv[..., 2] = (hsv[..., 2] + 0.15).clip(0, 1)
    return hsv_to_rgb(hsv)


def contrast(x: Pixels) -> Pixels:
    """Nearer to the mean."""
    means = x.mean((0, 1))
    return (x - means) * 0.4 + means


def elastic(x: Pixels) -> Pixels:
    """An affine map, then a field."""
    rows, columns = np.mgrid[:32, :32].astype(float)
    points = 16 + 10 * np.array([[1, 1], [1, -1], [-1, -1]])
    targets = np.hstack([points + DRAWS.uniform(-1.92, 1.92, (3, 2)), np.ones((3, 1))])
    inverse = np.linalg.solve(targets, points.astype(float)).T
    points = np.einsum("ij,jhw->ihw", inverse, np.stack([rows, columns, np.ones_like(rows)]))
    for positions, mode in ((points, "mirror"), (None, "reflect")):
        if positions is None:
            displacements = DRAWS.uniform(-1, 1, (2, 32, 32))
            field = [2.56 * ndimage.gaussian_filter(m, 1.92, truncate=3) for m in displacements]
            positions = np.stack([rows + field[0], columns + field[1]])
        channels = [
            ndimage.map_coordinates(x[..., c], positions, order=1, mode=mode) for c in range(3)
        ]
        x = np.stack(channels, -1)
    return x


def pixelate(x: Pixels) -> Pixels:
    """Fewer pixels."""
    image = Image.fromarray((x * 255).astype(np.uint8)).resize((27, 27), Image.Resampling.BOX)
    return np.asarray(image.resize((32, 32), Image.Resampling.BOX)) / 255


def jpeg(x: Pixels) -> Pixels:
    """The codec."""
    file = io.BytesIO()
    Image.fromarray((x * 255).astype(np.uint8)).save(file, "JPEG", quality=58)
    return np.asarray(Image.open(file)) / 255


def corrupt_image(image: Pixels, name: str) -> Pixels:
    """One uint8 image (32, 32, 3) under that corruption."""
    values = globals()[name.replace(" ", "_")](image / 255.0)
    return (values.clip(0, 1) * 255).astype(np.uint8)
