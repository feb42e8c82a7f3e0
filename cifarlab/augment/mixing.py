"""Mixing the images of a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

As in the code of both papers a batch has one lambda, and its images' partners are a permutation of
the batch, so that an image may meet itself. Lambda is known on the CPU: nothing waits for it.
"""

import math

import torch
from torch import Tensor

from cifarlab.augment.config import CutMix, Mix, MixPart, Mixup
from cifarlab.system.randomness import generator
from cifarlab.system.transfer import sent

Box = tuple[int, int, int, int]  # top, bottom, left, right: rows top..bottom - 1


def mix_batch(
    config: Mix, images: Tensor, seed: int, epoch: int, step: int
) -> tuple[Tensor, Tensor | None, float]:
    """Mix the images of a batch as the recipe says.

    Return the images (N, H, W, C), the indices of their partners in the batch, int64 (N,) on the
    images' device, and lam, the fraction of each image's own label in its loss, 0..1. Without
    partners, where the batch was not drawn to be mixed, lam is 1. mixup gives float32 either way.
    """
    if not isinstance(config, MixPart):
        return images, None, 1.0
    draws = generator(seed, "mix", epoch, step)
    draw, quantile = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
    lam = beta_quantile(config.alpha, quantile) if draw < config.prob else 1.0
    partners = sent(torch.randperm(len(images), generator=draws), images.device)
    if isinstance(config, Mixup):
        images = mixup(images, partners, lam)
    elif isinstance(config, CutMix) and lam < 1:
        center = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
        images, lam = cutmix(images, partners, cutmix_box(images.shape[1:3], lam, center))
    return images, partners if lam < 1 else None, lam


def beta_quantile(alpha: float, quantile: float) -> float:
    """Return the Beta(alpha, alpha) variate of a uniform one: both in 0..1."""
    from scipy.special import betaincinv

    return float(betaincinv(alpha, alpha, quantile))


def mixup(images: Tensor, partners: Tensor, lam: float) -> Tensor:
    """Return lam * image + (1 - lam) * partner, float32, of uint8 or float (section 2)."""
    pixels = images.to(torch.float32)
    return pixels * lam + pixels[partners] * (1 - lam)


def cutmix(images: Tensor, partners: Tensor, box: Box) -> tuple[Tensor, float]:
    """Put each partner's box into the image; the type stays.

    Return also the fraction of the pixels that are still the image's own (equation 1, with the
    paper's code: of the box as it is, cut by the border).
    """
    top, bottom, left, right = box
    out = images.clone()
    out[:, top:bottom, left:right] = images[partners, top:bottom, left:right]
    height, width = images.shape[1:3]
    return out, 1 - (bottom - top) * (right - left) / (height * width)


def cutmix_box(sides: tuple[int, ...], lam: float, center: list[float]) -> Box:
    """Return a box of sqrt(1 - lam) of both sides (H, W), cut by the border.

    ``center`` is the position of its center's pixel, row and column, each in 0..1 (equation 2).
    """
    edges = []
    for side, position in zip(sides, center, strict=True):
        middle, half = int(position * side), int(side * math.sqrt(1 - lam)) // 2
        edges += [max(0, middle - half), min(side, middle + half)]
    return edges[0], edges[1], edges[2], edges[3]
