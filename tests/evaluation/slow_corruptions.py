"""The fifteen corruptions of one image float (H, W, C) in 0..1, the slow and obvious way.

NumPy, SciPy, Matplotlib's colours and Pillow; the parameters are written down here once more.
"""

import io
import math

import numpy as np
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage
from scipy.stats import poisson


def gaussian_noise(x, draws, s):
    return x + draws[0] * [0.04, 0.06, 0.08, 0.09, 0.10][s - 1]


def shot_noise(x, draws, s):
    photons = [500, 250, 100, 75, 50][s - 1]
    return poisson.ppf(draws[0].astype(np.float64), x * photons).clip(0) / photons


def impulse_noise(x, draws, s):
    fraction = [0.01, 0.02, 0.03, 0.05, 0.07][s - 1]
    x = x.copy()
    for position in np.ndindex(x.shape):
        if draws[0][position] < fraction / 2:
            x[position] = 0
        elif draws[0][position] >= 1 - fraction / 2:
            x[position] = 1
    return x


def defocus_blur(x, draws, s):
    radius, alias = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)][s - 1]
    grid = np.arange(-8, 9)
    disc = (grid[None] ** 2 + grid[:, None] ** 2 <= radius**2) / 1.0
    tap = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias**2))
    tap /= tap.sum()
    kernel = ndimage.convolve(disc / disc.sum(), np.outer(tap, tap), mode="constant")
    return np.stack(
        [ndimage.correlate(x[..., c], kernel, mode="mirror") for c in range(x.shape[2])], -1
    )


def blur(x, sigma, mode="nearest", truncate=4.0):
    return ndimage.gaussian_filter(x, (sigma, sigma, 0), mode=mode, truncate=truncate)


def glass_blur(x, draws, s):
    sigma, reach, iterations = [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)][
        s - 1
    ]
    x = blur(x, sigma)
    height, width, _ = x.shape
    for iteration in range(iterations):
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                down, right = draws[0][iteration, h, w]
                pixel = x[h, w].copy()
                x[h, w] = x[h + down, w + right]
                x[h + down, w + right] = pixel
    return blur(x, sigma)


def smear(x, angle, radius, sigma):
    taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    height, width, _ = x.shape
    angle = math.radians(angle)
    out = np.zeros_like(x)
    for h in range(height):
        for w in range(width):
            for i, tap in enumerate(taps):
                row = h + math.ceil(i * math.sin(angle) - 0.5)
                column = w + math.ceil(i * math.cos(angle) - 0.5)
                out[h, w] += tap * x[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
    return out


def motion_blur(x, draws, s):
    return smear(x, draws[0], *[(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)][s - 1])


def magnify(x, factor):
    height, width, _ = x.shape
    h, w = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - h) // 2, (width - w) // 2
    part = x[top : top + h, left : left + w]
    large = ndimage.zoom(part, (factor, factor, 1), order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def zoom_blur(x, draws, s):
    factors = np.arange(1, [1.06, 1.11, 1.16, 1.21, 1.26][s - 1], 0.01)
    return (x + sum(magnify(x, factor) for factor in factors)) / (len(factors) + 1)


def snow(x, draws, s):
    loc, scale, zoom, threshold, radius, sigma, weight = [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ][s - 1]
    layer = magnify((loc + scale * draws[0])[..., None], zoom).copy()
    layer[layer < threshold] = 0
    layer = smear(layer.clip(0, 1), draws[1], radius, sigma)
    grey = x @ [[0.299], [0.587], [0.114]] if x.shape[2] == 3 else x
    x = weight * x + (1 - weight) * np.maximum(x, grey * 1.5 + 0.5)
    return x + layer + np.rot90(layer, 2)


def frost(x, draws, s):
    height, width, channels = x.shape
    ice = np.zeros((height, width))
    for octave, grid in enumerate(draws):
        for h in range(height):
            for w in range(width):
                row = h * (len(grid) - 1) / (height - 1)
                column = w * (len(grid) - 1) / (width - 1)
                top, left = min(int(row), len(grid) - 2), min(int(column), len(grid) - 2)
                down, right = row - top, column - left
                value = (1 - down) * (1 - right) * grid[top, left]
                value += (1 - down) * right * grid[top, left + 1]
                value += down * (1 - right) * grid[top + 1, left]
                value += down * right * grid[top + 1, left + 1]
                ice[h, w] += (1 - abs(2 * value - 1)) ** 2 / 2**octave
    ice = (ice - ice.min()) / (ice.max() - ice.min())
    color = np.array([0.82, 0.92, 1.0])
    color = color if channels == 3 else color @ [[0.299], [0.587], [0.114]]
    weight, thickness = [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)][s - 1]
    return weight * x + thickness * ice[..., None] * color


def plasma(noise, decay):
    side = len(noise)
    heights = np.zeros((side, side))
    step, reach = side, 1.0
    while step > 1:
        half = step // 2
        for h in range(half, side, step):
            for w in range(half, side, step):
                neighbors = [
                    heights[h + a, (w + b) % side] for a in (-half,) for b in (-half, half)
                ]
                neighbors += [heights[(h + half) % side, (w + b) % side] for b in (-half, half)]
                heights[h, w] = np.mean(neighbors) + reach * noise[h, w]
        for h in range(0, side, half):
            for w in range((h // half + 1) % 2 * half, side, step):
                neighbors = [heights[(h - half) % side, w], heights[(h + half) % side, w]]
                neighbors += [heights[h, (w - half) % side], heights[h, (w + half) % side]]
                heights[h, w] = np.mean(neighbors) + reach * noise[h, w]
        step, reach = half, reach / decay**2
    return (heights - heights.min()) / (heights.max() - heights.min())


def fog(x, draws, s):
    thickness, decay = [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)][s - 1]
    layer = plasma(draws[0], decay)[: x.shape[0], : x.shape[1], None]
    return (x + thickness * layer) * x.max() / (x.max() + thickness)


def brightness(x, draws, s):
    shift = [0.05, 0.1, 0.15, 0.2, 0.3][s - 1]
    if x.shape[2] == 1:
        return (x + shift).clip(0, 1)
    hsv = rgb_to_hsv(x)
    hsv[..., 2] = (hsv[..., 2] + shift).clip(0, 1)
    return hsv_to_rgb(hsv)


def contrast(x, draws, s):
    means = x.mean((0, 1))
    return (x - means) * [0.75, 0.5, 0.4, 0.3, 0.15][s - 1] + means


def elastic(x, draws, s):
    height, width, channels = x.shape
    side = min(height, width)
    alpha, sigma, reach = (
        fraction * side
        for fraction in [
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ][s - 1]
    )
    centre, distance = np.array([height // 2, width // 2]), side // 3
    old = centre + distance * np.array([[1, 1], [1, -1], [-1, -1]])
    new = np.hstack([old + reach * draws[0], np.ones((3, 1))])
    inverse = np.linalg.solve(new, old.astype(float)).T  # from a new place to the old one
    rows, columns = np.mgrid[:height, :width].astype(float)
    points = np.einsum("ij,jhw->ihw", inverse, np.stack([rows, columns, np.ones_like(rows)]))
    warped = [
        ndimage.map_coordinates(x[..., c], points, order=1, mode="mirror") for c in range(channels)
    ]
    if not alpha:
        return np.stack(warped, -1)
    down, right = (
        alpha * ndimage.gaussian_filter(draws[1][..., i], sigma, mode="reflect", truncate=3)
        for i in range(2)
    )
    points = np.stack([rows + down, columns + right])
    return np.stack(
        [ndimage.map_coordinates(channel, points, order=1, mode="reflect") for channel in warped],
        -1,
    )


def to_pillow(x):
    pixels = (x * 255).round().astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if x.shape[2] == 1 else pixels)


def pixelate(x, draws, s):
    fraction = [0.95, 0.9, 0.85, 0.75, 0.65][s - 1]
    height, width, _ = x.shape
    small = to_pillow(x).resize(
        (int(width * fraction), int(height * fraction)), Image.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Image.Resampling.BOX)).reshape(x.shape) / 255


def jpeg(x, draws, s):
    file = io.BytesIO()
    to_pillow(x).save(file, "JPEG", quality=[80, 65, 58, 50, 40][s - 1])
    return np.asarray(Image.open(file)).reshape(x.shape) / 255
