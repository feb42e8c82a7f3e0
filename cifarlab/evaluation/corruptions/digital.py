"""What screens, lenses and codecs do: contrast, elastic distortion, pixels, JPEG."""

import io
from functools import lru_cache, partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from cifarlab.augment.transforms import warp_affine
from cifarlab.evaluation.corruptions.blur import both_axes, gaussian_matrix
from cifarlab.evaluation.corruptions.draws import Draws


def contrast(images: Tensor, _draws: Draws, kept: float) -> Tensor:
    """Each channel nearer to its image's mean."""
    means = images.mean((1, 2), keepdim=True)
    return means + kept * (images - means)


def elastic(
    images: Tensor, draws: Draws, strength: float, smoothness: float, reach: float
) -> Tensor:
    """An affine map that moves three points, then a smooth field of displacements.

    In sides of the image: strength and smoothness of the field, reach of the affine map.
    """
    count, height, width, _ = images.shape
    side = min(height, width)
    points = draws.uniform(-1, 1, count, 3, 2) * (reach * side)
    field = draws.uniform(-1, 1, count, height, width, 2)
    bent = warp_affine(images, affine_maps(points, height, width), "reflect")
    if strength == 0:
        return bent
    gaussian = partial(gaussian_matrix, sigma=smoothness * side, mode="reflect", truncate=3.0)
    return displace(bent, strength * side * both_axes(field, gaussian))


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


def pixelate(images: Tensor, _draws: Draws, fraction: float) -> Tensor:
    """Fewer pixels, that fraction of them per side, and back to as many."""
    return both_axes(images, partial(pixelate_matrix, fraction=fraction))


@lru_cache(maxsize=64)
def pixelate_matrix(size: int, fraction: float) -> Tensor:
    """Pillow's box filter down to that fraction of the pixels and up again: (size, size)."""
    eye = Image.fromarray(np.eye(size, dtype=np.float32))
    down = eye.resize((size, int(fraction * size)), Image.Resampling.BOX)
    return torch.from_numpy(np.array(down.resize((size, size), Image.Resampling.BOX)))


def jpeg(images: Tensor, _draws: Draws, quality: int) -> Tensor:
    """Through Pillow's JPEG, image by image on the CPU: no codec works by the batch."""
    coded = []
    for pixels in (images * 255).round().to(torch.uint8).cpu().numpy():
        file = io.BytesIO()
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image.save(file, "JPEG", quality=quality)
        coded.append(np.asarray(Image.open(file)).reshape(pixels.shape))
    return torch.from_numpy(np.stack(coded)).to(images.device, torch.float32) / 255
