"""Weather: snow, frost, fog, and more light."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cifarlab.evaluation.corruptions.blur import blur_along
from cifarlab.evaluation.corruptions.linear import both_axes, zoom_matrix

# mean, std, zoom and threshold of the flakes; radius and std of their fall; how much
# of the image's colour stays
_SNOW = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
_FROST = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))  # image's and frost's share
_FOG = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))  # thickness, smoothness
_BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
_GREY = (0.299, 0.587, 0.114)
_ICE = (0.82, 0.92, 1.0)  # the colour of the frost, red, green, blue
_VEINS = (3, 5, 9, 17)  # points per side of the grids that frost is made of


def snow_draws(
    generator: torch.Generator, shape: tuple[int, int, int, int], _severity: int
) -> tuple[Tensor, Tensor]:
    """Standard normal flakes (N, H, W), and the angles of their fall, -135 to -45 degrees (N,)."""
    flakes = torch.randn(shape[:3], generator=generator)
    return flakes, torch.rand(shape[0], generator=generator) * 90 - 135


def snow(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Paler, with smeared flakes and the same turned by 180 degrees."""
    mean, std, magnified, threshold, radius, sigma, kept = _SNOW[severity - 1]
    flakes = mean + std * draws[0][..., None]
    flakes = both_axes(flakes, *(zoom_matrix(side, magnified) for side in images.shape[1:3]))
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    flakes = blur_along(flakes, draws[1], int(radius), sigma)
    pale = torch.maximum(images, 1.5 * grey(images) + 0.5)
    return kept * images + (1 - kept) * pale + flakes + flakes.flip(1, 2)


def grey(images: Tensor) -> Tensor:
    """Luma (N, H, W, 1) of images of one or three channels."""
    if images.shape[3] == 1:
        return images
    return images @ images.new_tensor(_GREY)[:, None]


def frost_draws(
    generator: torch.Generator, shape: tuple[int, int, int, int], _severity: int
) -> tuple[Tensor, ...]:
    """Grids of numbers from 0 to 1, ever finer: (N, points, points)."""
    return tuple(torch.rand((shape[0], side, side), generator=generator) for side in _VEINS)


def frost(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Behind a layer of ice."""
    kept, thickness = _FROST[severity - 1]
    tint = images.new_tensor(_ICE)
    tint = tint if images.shape[3] == 3 else grey(tint[None, None, None])[0, 0, 0]
    ice = frost_texture(draws, images.shape[1], images.shape[2])[..., None] * tint
    return kept * images + thickness * ice


def frost_texture(grids: tuple[Tensor, ...], height: int, width: int) -> Tensor:
    """Veins of ice (N, H, W) in 0..1: ridges of ever finer noise, each octave of half the weight.

    A ridge is where bilinear noise passes 1/2. Stands in for the photographs of CIFAR-10-C.
    """
    total = torch.zeros(len(grids[0]), height, width, device=grids[0].device)
    for octave, grid in enumerate(grids):
        fine = interpolate(grid[:, None], (height, width), mode="bilinear", align_corners=True)
        total += (1 - (2 * fine[:, 0] - 1).abs()) ** 2 / 2**octave
    return _rescale(total)


def fog_draws(
    generator: torch.Generator, shape: tuple[int, int, int, int], _severity: int
) -> tuple[Tensor]:
    """A number from -1 to 1 for each point of a square map (N, M, M), M a power of 2."""
    side = 1 << (max(shape[1:3]) - 1).bit_length()
    return (torch.rand((shape[0], side, side), generator=generator) * 2 - 1,)


def fog(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Plasma is added, and the brightest pixel keeps its value."""
    thickness, decay = _FOG[severity - 1]
    layer = plasma(draws[0], decay)[:, : images.shape[1], : images.shape[2], None]
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
        square = corners + corners.roll(-1, 1)
        square = square + square.roll(-1, 2)
        made[:, middle, middle] = square / 4 + reach * draws[:, middle, middle]
        centres = made[:, middle, middle]
        beside = corners + corners.roll(-1, 2) + centres + centres.roll(1, 1)
        made[:, old, middle] = beside / 4 + reach * draws[:, old, middle]
        below = corners + corners.roll(-1, 1) + centres + centres.roll(1, 2)
        made[:, middle, old] = below / 4 + reach * draws[:, middle, old]
        step, reach = half, reach / decay**2
    return _rescale(made)


def _rescale(maps: Tensor) -> Tensor:
    """Maps (N, H, W), each from 0 to 1."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def brightness(images: Tensor, _draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """A higher value in HSV: hue and saturation stay; black, which has neither, becomes grey."""
    value = images.amax(3, keepdim=True)
    higher = (value + _BRIGHTNESS[severity - 1]).clamp(max=1)
    return torch.where(value > 0, images * (higher / value.clamp(min=1e-9)), higher)
