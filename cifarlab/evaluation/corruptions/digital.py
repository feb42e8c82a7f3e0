"""What screens, lenses and codecs do: contrast, elastic distortion, pixels, JPEG."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from cifarlab.augment.transforms import warp_affine
from cifarlab.evaluation.corruptions.linear import both_axes, gaussian_matrix, pixelate_matrix

_CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
# in sides of the image: strength and smoothness of the distortion, reach of the affine part
_ELASTIC = (
    (0, 0, 0.08),
    (0.05, 0.2, 0.07),
    (0.08, 0.06, 0.06),
    (0.1, 0.04, 0.05),
    (0.1, 0.03, 0.03),
)
_PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)  # fraction of the pixels per side that is left
_JPEG = (80, 65, 58, 50, 40)  # quality


def contrast(images: Tensor, _draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Each channel nearer to its image's mean."""
    means = images.mean((1, 2), keepdim=True)
    return means + _CONTRAST[severity - 1] * (images - means)


def elastic_draws(
    generator: torch.Generator, shape: tuple[int, int, int, int], _severity: int
) -> tuple[Tensor, Tensor]:
    """Numbers from -1 to 1: where three points go (N, 3, 2), and a field (N, H, W, 2)."""
    points = torch.rand((shape[0], 3, 2), generator=generator)
    field = torch.rand((*shape[:3], 2), generator=generator)
    return points * 2 - 1, field * 2 - 1


def elastic(images: Tensor, draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """An affine map that moves three points, then a smooth field of displacements."""
    height, width = images.shape[1:3]
    side = min(height, width)
    strength, smoothness, reach = (fraction * side for fraction in _ELASTIC[severity - 1])
    bent = warp_affine(images, affine_maps(draws[0] * reach, height, width), "reflect")
    if strength == 0:
        return bent
    rows, columns = (gaussian_matrix(size, smoothness, "reflect", 3.0) for size in (height, width))
    return displace(bent, strength * both_axes(draws[1], rows, columns))


def affine_maps(moves: Tensor, height: int, width: int) -> Tensor:
    """Maps (N, 2, 3) for ``warp_affine`` that take three points to where ``moves`` (N, 3, 2) say.

    In pixels, down and right. The points lie a third of the short side from the centre, at its
    lower right, lower left and upper left.
    """
    reach = min(height, width) // 3
    centre = moves.new_tensor([height // 2, width // 2])
    corners = centre + reach * moves.new_tensor([[1, 1], [1, -1], [-1, -1]])
    old = corners - (moves.new_tensor([height, width]) - 1) / 2  # from the image's centre
    new = torch.cat([old + moves, moves.new_ones(len(moves), 3, 1)], 2)
    return torch.linalg.solve(new, old.expand_as(moves)).transpose(1, 2)


def displace(images: Tensor, field: Tensor) -> Tensor:
    """Bilinear values at each pixel's place plus ``field`` (N, H, W, 2), pixels down and right.

    The border is a mirror that repeats the edge's pixel.
    """
    height, width = images.shape[1:3]
    rows = torch.arange(height, device=images.device)[:, None] + field[..., 0]
    columns = torch.arange(width, device=images.device) + field[..., 1]
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], 3)
    moved = grid_sample(
        images.permute(0, 3, 1, 2), grid, padding_mode="reflection", align_corners=False
    )
    return moved.permute(0, 2, 3, 1)


def pixelate(images: Tensor, _draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Fewer pixels, and back to as many."""
    fraction = _PIXELATE[severity - 1]
    return both_axes(
        images, *(pixelate_matrix(side, int(fraction * side)) for side in images.shape[1:3])
    )


def jpeg(images: Tensor, _draws: tuple[Tensor, ...], severity: int) -> Tensor:
    """Through Pillow's JPEG, image by image on the CPU: no codec works by the batch."""
    pixels = (images * 255).round().to(torch.uint8).cpu().numpy()
    coded = np.stack([_through_jpeg(image, _JPEG[severity - 1]) for image in pixels])
    return torch.from_numpy(coded).to(images.device, torch.float32) / 255


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(
        file, "JPEG", quality=quality
    )
    return np.asarray(Image.open(file)).reshape(image.shape)
