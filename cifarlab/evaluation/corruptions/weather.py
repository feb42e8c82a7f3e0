"""Weather: snow, frost, fog, and more light."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cifarlab.evaluation.corruptions.blur import blur_along, both_axes, zoom_matrix
from cifarlab.evaluation.corruptions.draws import Draws

_GREY = (0.299, 0.587, 0.114)
_ICE = (0.82, 0.92, 1.0)  # the colour of the frost, red, green, blue
_VEINS = (3, 5, 9, 17)  # points per side of the grids that frost is made of


def snow(
    images: Tensor, draws: Draws, flakes: Sequence[float], fall: tuple[int, float], weight: float
) -> Tensor:
    """Make images paler, and add smeared flakes and the same turned by 180 degrees.

    Args:
        images: float32 (N, H, W, C), 0..1
        draws: the batch's random numbers
        flakes: mean, std, zoom and threshold of the noise that they are made of
        fall: radius and sigma of ``blur_along``, at -135 to -45 degrees
        weight: of the image against its pale version, 0..1
    """
    mean, std, zoom, threshold = flakes
    layer = mean + std * draws.normal(*images.shape[:3])[..., None]
    layer = both_axes(layer, partial(zoom_matrix, factor=zoom))
    layer = torch.where(layer < threshold, 0.0, layer).clamp(0, 1)
    layer = blur_along(layer, draws.uniform(-135, -45, len(images)), *fall)
    pale = torch.maximum(images, 1.5 * grey(images) + 0.5)
    return weight * images + (1 - weight) * pale + layer + layer.flip(1, 2)


def grey(images: Tensor) -> Tensor:
    """Return the luma (N, H, W, 1) of images of one or three channels."""
    return images if images.shape[3] == 1 else images @ images.new_tensor(_GREY)[:, None]


def frost(images: Tensor, draws: Draws, weight: float, thickness: float) -> Tensor:
    """Add a layer of ice: ridges of ever finer noise, each octave of half the weight.

    A ridge is where bilinear noise passes 1/2. Replaces the photographs of CIFAR-10-C.

    Args:
        images: float32 (N, H, W, C), 0..1
        draws: the batch's random numbers
        weight: of the image
        thickness: weight of the ice
    """
    count, height, width, channels = images.shape
    veins = images.new_zeros(count, height, width)
    for octave, side in enumerate(_VEINS):
        grid = draws.uniform(0, 1, count, 1, side, side)
        fine = interpolate(grid, (height, width), mode="bilinear", align_corners=True)
        veins += (1 - (2 * fine[:, 0] - 1).abs()) ** 2 / 2**octave
    ice = images.new_tensor(_ICE)[None, None, None]
    tint = ice if channels == 3 else grey(ice)
    return weight * images + thickness * (_rescale(veins)[..., None] * tint)


def fog(images: Tensor, draws: Draws, thickness: float, decay: float) -> Tensor:
    """Add plasma, and scale so that the brightest pixel keeps its value.

    Args:
        images: float32 (N, H, W, C), 0..1
        draws: the batch's random numbers
        thickness: weight of the plasma
        decay: as in ``plasma``
    """
    height, width = images.shape[1:3]
    side = 1 << (max(height, width) - 1).bit_length()  # a power of 2
    layer = plasma(draws.uniform(-1, 1, len(images), side, side), decay)[:, :height, :width, None]
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + thickness * layer) * brightest / (brightest + thickness)


def plasma(draws: Tensor, decay: float) -> Tensor:
    """Return a map (N, M, M) in 0..1 by the diamond-square algorithm (Fournier et al. 1982).

    The map is a torus; its corners are 0. Each new point is the mean of its four neighbours plus
    its draw (N, M, M), -1..1. Each time that the grid is halved, draws weigh decay**2 times less,
    as in CIFAR-10-C.
    """
    heights = torch.zeros_like(draws)
    step, weight = draws.shape[1], 1.0
    while step >= 2:
        half = step // 2
        grid, middle = slice(0, None, step), slice(half, None, step)
        corners = heights[:, grid, grid]
        columns = corners + corners.roll(-1, 1)
        centres = (columns + columns.roll(-1, 2)) / 4 + weight * draws[:, middle, middle]
        heights[:, middle, middle] = centres
        sums = corners + corners.roll(-1, 2) + centres + centres.roll(1, 1)
        heights[:, grid, middle] = sums / 4 + weight * draws[:, grid, middle]
        sums = columns + centres + centres.roll(1, 2)
        heights[:, middle, grid] = sums / 4 + weight * draws[:, middle, grid]
        step, weight = half, weight / decay**2
    return _rescale(heights)


def _rescale(maps: Tensor) -> Tensor:
    """Scale each of the maps (N, H, W) to 0..1."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def brightness(images: Tensor, _draws: Draws, brightness_shift: float) -> Tensor:
    """Raise the value in HSV: hue and saturation stay; black, which has neither, becomes grey.

    Args:
        images: float32 (N, H, W, C), 0..1
        _draws: not used
        brightness_shift: what is added to the value
    """
    value = images.amax(3, keepdim=True)
    higher = (value + brightness_shift).clamp(max=1)
    return torch.where(value > 0, images * (higher / value.clamp(min=1e-9)), higher)
