"""Mixing the images of a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

As in the code of both papers a batch has one share, and its images' partners are a permutation of
the batch, so that an image may meet itself. The share is known on the CPU: nothing waits for it.
"""

import math

import torch
from torch import Tensor

from cifarlab.augment.config import CutMix, Mix, MixPart, Mixup
from cifarlab.system.randomness import generator
from cifarlab.system.transfer import sent

Box = tuple[int, int, int, int]  # top, bottom, left, right: rows top..bottom - 1


def mixed(
    config: Mix, images: Tensor, seed: int, epoch: int, step: int
) -> tuple[Tensor, Tensor | None, float]:
    """A batch with its images mixed as the recipe says.

    The images (N, H, W, C), the places of their partners in the batch, int64 (N,) on the images'
    device, and the share of each image's own label in its loss, 0..1. Without partners, where the
    batch was not drawn to be mixed, the share is 1. mixup gives float32 either way.
    """
    if not isinstance(config, MixPart):
        return images, None, 1.0
    draws = generator(seed, "mix", epoch, step)
    chance, quantile = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
    share = beta(config.alpha, quantile) if chance < config.prob else 1.0
    partners = sent(torch.randperm(len(images), generator=draws), images.device)
    if isinstance(config, Mixup):
        images = mixup(images, partners, share)
    elif isinstance(config, CutMix) and share < 1:
        centre = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
        images, share = cutmix(images, partners, box(images.shape[1:3], share, centre))
    return images, partners if share < 1 else None, share


def beta(alpha: float, quantile: float) -> float:
    """The Beta(alpha, alpha) variate of a uniform one: both in 0..1."""
    from scipy.special import betaincinv

    return float(betaincinv(alpha, alpha, quantile))


def mixup(images: Tensor, partners: Tensor, share: float) -> Tensor:
    """share * image + (1 - share) * partner: float32, of uint8 or float (equation in section 2)."""
    pixels = images.to(torch.float32)
    return pixels * share + pixels[partners] * (1 - share)


def cutmix(images: Tensor, partners: Tensor, place: Box) -> tuple[Tensor, float]:
    """Put each partner's box into the image; the type stays.

    Also the share of the pixels that are still the image's own (equation 1, with the paper's code:
    of the box as it is, cut by the border).
    """
    top, bottom, left, right = place
    out = images.clone()
    out[:, top:bottom, left:right] = images[partners, top:bottom, left:right]
    height, width = images.shape[1:3]
    return out, 1 - (bottom - top) * (right - left) / (height * width)


def box(sides: tuple[int, ...], share: float, centre: list[float]) -> Box:
    """A box of sqrt(1 - share) of both sides (H, W), cut by the border.

    ``centre`` is the place of its centre's pixel, row and column, each in 0..1 (equation 2).
    """
    edges = []
    for side, place in zip(sides, centre, strict=True):
        middle, half = int(place * side), int(side * math.sqrt(1 - share)) // 2
        edges += [max(0, middle - half), min(side, middle + half)]
    return edges[0], edges[1], edges[2], edges[3]
