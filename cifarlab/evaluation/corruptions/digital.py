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


def contrast(images: Tensor, _draws: Draws, contrast_factor: float) -> Tensor:
    """Bring each channel nearer to its image's mean.

    Args:
        images: float32 (N, H, W, C), 0..1
        _draws: not used
        contrast_factor: what is left of the differences from the mean, 0..1
    """
    means = images.mean((1, 2), keepdim=True)
    return means + contrast_factor * (images - means)


def elastic(
    images: Tensor, draws: Draws, alpha: float, sigma: float, alpha_affine: float
) -> Tensor:
    """Apply an affine map that moves three points, then a smooth field of displacements.

    Args:
        images: float32 (N, H, W, C), 0..1
        draws: the batch's random numbers
        alpha: strength of the field, in sides of the image
        sigma: standard deviation of the Gaussian that smooths the field, in sides of the image
        alpha_affine: how far a point is moved at most, in sides of the image
    """
    count, height, width, _ = images.shape
    side = min(height, width)
    point_shifts = draws.uniform(-1, 1, count, 3, 2) * (alpha_affine * side)
    field = draws.uniform(-1, 1, count, height, width, 2)
    warped = warp_affine(images, affine_maps(point_shifts, height, width), "reflect")
    if alpha == 0:
        return warped
    gaussian = partial(gaussian_matrix, sigma=sigma * side, mode="reflect", truncate=3.0)
    return displace(warped, alpha * side * both_axes(field, gaussian))


def affine_maps(shifts: Tensor, height: int, width: int) -> Tensor:
    """Return the maps (N, 2, 3), for ``warp_affine``, that shift three points of each image.

    The points lie a third of the short side from the centre, at its lower right, lower left and
    upper left.

    Args:
        shifts: pixels (N, 3, 2), down and right
        height: of the images, in pixels
        width: of the images, in pixels
    """
    distance = min(height, width) // 3
    centre = shifts.new_tensor([height // 2, width // 2])
    corners = centre + distance * shifts.new_tensor([[1, 1], [1, -1], [-1, -1]])
    points = corners - (shifts.new_tensor([height, width]) - 1) / 2  # from the image's centre
    targets = torch.cat([points + shifts, shifts.new_ones(len(shifts), 3, 1)], 2)
    return torch.linalg.solve(targets, points.expand_as(shifts)).transpose(1, 2)


def displace(images: Tensor, field: Tensor) -> Tensor:
    """Return bilinear values at each pixel's position plus ``field`` (N, H, W, 2), down and right.

    Beyond the border the image is mirrored, and its edge repeated.
    """
    height, width = images.shape[1:3]
    rows = torch.arange(height, device=images.device)[:, None] + field[..., 0]
    columns = torch.arange(width, device=images.device) + field[..., 1]
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], 3)
    values = grid_sample(
        images.permute(0, 3, 1, 2), grid, padding_mode="reflection", align_corners=False
    )
    return values.permute(0, 2, 3, 1)


def pixelate(images: Tensor, _draws: Draws, fraction: float) -> Tensor:
    """Scale images down, and up to their size again.

    Args:
        images: float32 (N, H, W, C), 0..1
        _draws: not used
        fraction: of the pixels per side that are left in between, 0..1
    """
    return both_axes(images, partial(pixelate_matrix, fraction=fraction))


@lru_cache(maxsize=64)
def pixelate_matrix(size: int, fraction: float) -> Tensor:
    """Return Pillow's box filter down to a fraction of the pixels and up again: (size, size)."""
    eye = Image.fromarray(np.eye(size, dtype=np.float32))
    down = eye.resize((size, int(fraction * size)), Image.Resampling.BOX)
    return torch.from_numpy(np.array(down.resize((size, size), Image.Resampling.BOX)))


def jpeg(images: Tensor, _draws: Draws, quality: int) -> Tensor:
    """Encode and decode by Pillow's JPEG, image by image on the CPU: no codec works by the batch.

    Args:
        images: float32 (N, H, W, C), 0..1
        _draws: not used
        quality: Pillow's, 1 to 95
    """
    coded = []
    for pixels in (images * 255).round().to(torch.uint8).cpu().numpy():
        file = io.BytesIO()
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image.save(file, "JPEG", quality=quality)
        coded.append(np.asarray(Image.open(file)).reshape(pixels.shape))
    return torch.from_numpy(np.stack(coded)).to(images.device, torch.float32) / 255
