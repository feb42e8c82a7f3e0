"""Augmentation of whole batches of uint8 images (N, H, W, C) on their device.

Pure functions of the images and of draws made beforehand; ``Augmentation`` makes the draws, each
from a generator named by seed, purpose, epoch and step, so that they are the same on every device
and after every restart.
"""

import torch
from torch import Tensor

from cifarlab.errors import RecipeError
from cifarlab.randomness import derived_seed, generator
from cifarlab.recipe.schema import Augment


def crop(images: Tensor, offsets: Tensor, padding: int, mode: str) -> Tensor:
    """Cut (H, W) windows out of the images padded by ``padding`` on each side.

    ``offsets`` int64 (N, 2): top and left of each window in the padded image, 0..2 * padding.
    ``mode`` is ``zero`` or ``reflect`` (without repeating the edge, so padding < H and W).
    """
    count, height, width, _ = images.shape
    rows = offsets[:, :1] + torch.arange(-padding, height - padding, device=images.device)
    columns = offsets[:, 1:] + torch.arange(-padding, width - padding, device=images.device)
    sample = torch.arange(count, device=images.device)[:, None, None]
    if mode == "reflect":
        rows, columns = _reflected(rows, height), _reflected(columns, width)
        return images[sample, rows[:, :, None], columns[:, None, :]]
    inside = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return images[sample, rows[:, :, None], columns[:, None, :]] * inside[..., None]


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Flip left-right the images that ``chosen`` (N,), bool, picks."""
    return torch.where(chosen[:, None, None, None], images.flip(2), images)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on ``device`` without waiting for it: from pinned memory, in the stream."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _reflected(index: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - index.abs()).abs()


def _inside(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)


class Augmentation:
    """The recipe's ``augment`` part, ready to be applied to any batch of any epoch."""

    def __init__(self, config: Augment, image_shape: tuple[int, int, int], seed: int) -> None:
        self.config = config
        self.seed = seed
        smallest = min(image_shape[:2])
        if config.crop.mode == "reflect" and config.crop.padding >= smallest:
            raise RecipeError(
                f"augment.crop.padding={config.crop.padding} can't be reflected in images of "
                f"{smallest} pixels",
                f"take at most {smallest - 1}, or augment.crop.mode=zero",
            )

    def __call__(self, images: Tensor, indices: Tensor, epoch: int, step: int) -> Tensor:
        """Augment one batch: ``indices`` (N,), on the CPU, are its images' places in the split."""
        padding = self.config.crop.padding
        if padding:
            draws = generator(self.seed, "crop", epoch, step)
            offsets = torch.randint(0, 2 * padding + 1, (len(images), 2), generator=draws)
            images = crop(images, sent(offsets, images.device), padding, self.config.crop.mode)
        if self.config.flip != "none":
            chosen = self.flips(indices, epoch, step)
            images = mirror(images, sent(chosen, images.device))
        return images

    def flips(self, indices: Tensor, epoch: int, step: int) -> Tensor:
        """Which images of a batch are mirrored, bool (N,).

        Alternating: each image's side in epoch 0 follows from the seed and its place in the split;
        it changes with every epoch.
        """
        if self.config.flip == "random":
            draws = generator(self.seed, "flip", epoch, step)
            return torch.rand(len(indices), generator=draws) < 0.5
        first_side = _hashed(indices + derived_seed(self.seed, "first side") % 2**32) % 2
        return (first_side + epoch) % 2 == 1


def _hashed(numbers: Tensor) -> Tensor:
    """Well-mixed non-negative int64 of int64 (the finaliser of splitmix64, Steele et al. 2014)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        numbers = (numbers ^ (numbers >> shift)) * factor
    return (numbers ^ (numbers >> 31)) & (2**63 - 1)
