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
    images: Tensor, draws: Draws, flakes: Sequence[float], fall: tuple[int, float], kept: float
) -> Tensor:
    """Paler, with smeared flakes and the same turned by 180 degrees.

    ``flakes`` are the mean, std, zoom and threshold of the flakes, ``fall`` radius and std of their
    fall at -135 to -45 degrees; ``kept`` is how much of the image's colour stays.
    """
    mean, std, zoom, threshold = flakes
    layer = mean + std * draws.normal(*images.shape[:3])[..., None]
    layer = both_axes(layer, partial(zoom_matrix, factor=zoom))
    layer = torch.where(layer < threshold, 0.0, layer).clamp(0, 1)
    layer = blur_along(layer, draws.uniform(-135, -45, len(images)), *fall)
    pale = torch.maximum(images, 1.5 * grey(images) + 0.5)
    return kept * images + (1 - kept) * pale + layer + layer.flip(1, 2)


def grey(images: Tensor) -> Tensor:
    """Luma (N, H, W, 1) of images of one or three channels."""
    return images if images.shape[3] == 1 else images @ images.new_tensor(_GREY)[:, None]


def frost(images: Tensor, draws: Draws, kept: float, thickness: float) -> Tensor:
    """Behind a layer of ice: ridges of ever finer noise, each octave of half the weight.

    A ridge is where bilinear noise passes 1/2. Stands in for the photographs of CIFAR-10-C.
    """
    count, height, width, channels = images.shape
    veins = images.new_zeros(count, height, width)
    for octave, side in enumerate(_VEINS):
        grid = draws.uniform(0, 1, count, 1, side, side)
        fine = interpolate(grid, (height, width), mode="bilinear", align_corners=True)
        veins += (1 - (2 * fine[:, 0] - 1).abs()) ** 2 / 2**octave
    ice = images.new_tensor(_ICE)[None, None, None]
    tint = ice if channels == 3 else grey(ice)
    return kept * images + thickness * (_rescale(veins)[..., None] * tint)


def fog(images: Tensor, draws: Draws, thickness: float, decay: float) -> Tensor:
    """Plasma is added, and the brightest pixel keeps its value."""
    height, width = images.shape[1:3]
    side = 1 << (max(height, width) - 1).bit_length()  # a power of 2
    layer = plasma(draws.uniform(-1, 1, len(images), side, side), decay)[:, :height, :width, None]
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + thickness * layer) * brightest / (brightest + thickness)


def plasma(draws: Tensor, decay: float) -> Tensor:
    """A map (N, M, M) in 0..1 from numbers of that shape in -1..1, by diamond and square.

    From the corners on (0; the map is a torus), each new point is the mean of its four neighbours
    plus its number; numbers count decay**2 less each time that the grid is halved (Fournier et al.
    1982, as CIFAR-10-C has it).
    """
    made = torch.zeros_like(draws)
    step, reach = draws.shape[1], 1.0
    while step >= 2:
        half = step // 2
        old, middle = slice(0, None, step), slice(half, None, step)
        corners = made[:, old, old]
        across = corners + corners.roll(-1, 1)
        centres = (across + across.roll(-1, 2)) / 4 + reach * draws[:, middle, middle]
        made[:, middle, middle] = centres
        beside = corners + corners.roll(-1, 2) + centres + centres.roll(1, 1)
        made[:, old, middle] = beside / 4 + reach * draws[:, old, middle]
        below = across + centres + centres.roll(1, 2)
        made[:, middle, old] = below / 4 + reach * draws[:, middle, old]
        step, reach = half, reach / decay**2
    return _rescale(made)


def _rescale(maps: Tensor) -> Tensor:
    """Maps (N, H, W), each from 0 to 1."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def brightness(images: Tensor, _draws: Draws, added: float) -> Tensor:
    """A higher value in HSV: hue and saturation stay; black, which has neither, becomes grey."""
    value = images.amax(3, keepdim=True)
    higher = (value + added).clamp(max=1)
    return torch.where(value > 0, images * (higher / value.clamp(min=1e-9)), higher)
