"""Mix the images of a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

As in the code of both papers a batch has one lambda, and its images' partners are a permutation of
the batch, so that an image may be its own partner. Lambda is drawn on the CPU, so that nothing
waits for the device.
"""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from pydantic import Field, SerializeAsAny

from cifarlab.config.family import Family
from cifarlab.system.randomness import generator

if TYPE_CHECKING:
    from torch import Generator, Tensor

MixedBatch: TypeAlias = "tuple[Tensor, Tensor | None, float]"  # images, partners, lam
Mixture: TypeAlias = "tuple[Tensor, float]"  # images, lam
Box = tuple[int, int, int, int]  # top, bottom, left, right: rows top..bottom - 1


class MixConfig(Family):
    """A way to mix the images of a batch with each other."""

    mixes: ClassVar[bool] = True  # so that each process needs all images of a batch

    @abstractmethod
    def mix(self, images: "Tensor", seed: int, epoch: int, step: int) -> MixedBatch:
        """Mix the images of a batch; the given ones stay as they are.

        Args:
            images: the whole batch's (N, H, W, C), uint8 or float32
            seed: the run's seed
            epoch: the epoch, from 0
            step: the step in the epoch, from 0

        Returns:
            The images, their partners' indices in the batch, int64 (N,) on the images' device, and
            lam, the weight of each image's own label in its loss, 0..1. Where the batch is not
            mixed, partners are None and lam is 1.
        """


class NoMix(MixConfig):
    """Each image for itself."""

    kind: Literal["none"] = "none"
    mixes: ClassVar[bool] = False

    def mix(self, images: "Tensor", seed: int, epoch: int, step: int) -> MixedBatch:
        """Return the images as they are.

        Args:
            images: the whole batch's (N, H, W, C), uint8 or float32
            seed: the run's seed
            epoch: the epoch, from 0
            step: the step in the epoch, from 0
        """
        return images, None, 1.0


class BetaMix(MixConfig):
    """A mix by a lambda that is drawn for each batch, with partners by a permutation."""

    kind: str
    alpha: float = Field(
        1.0,
        gt=0,
        le=100,
        description="the fraction of an image that is its own is Beta(alpha, alpha)",
    )
    prob: float = Field(1.0, gt=0, le=1, description="of a batch to be mixed at all")

    def mix(self, images: "Tensor", seed: int, epoch: int, step: int) -> MixedBatch:
        """Mix each image with its partner.

        Args:
            images: the whole batch's (N, H, W, C), uint8 or float32
            seed: the run's seed
            epoch: the epoch, from 0
            step: the step in the epoch, from 0
        """
        import torch

        from cifarlab.system.transfer import to_device

        draws = generator(seed, "mix", epoch, step)
        draw, quantile = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
        lam = beta_quantile(self.alpha, quantile) if draw < self.prob else 1.0
        partners = to_device(torch.randperm(len(images), generator=draws), images.device)
        images, lam = self.join(images, partners, lam, draws)
        return images, partners if lam < 1 else None, lam

    @abstractmethod
    def join(self, images: "Tensor", partners: "Tensor", lam: float, draws: "Generator") -> Mixture:
        """Return the images mixed with their partners, and the lambda that was reached.

        Args:
            images: (N, H, W, C)
            partners: the partners' indices in the batch, int64 (N,)
            lam: the lambda that was drawn, 0..1; 1: the batch is not mixed
            draws: the batch's generator, on the CPU
        """


class Mixup(BetaMix):
    """Weighted sums of two images and of their losses (Zhang et al. 2018)."""

    kind: Literal["mixup"] = "mixup"

    def join(self, images: "Tensor", partners: "Tensor", lam: float, draws: "Generator") -> Mixture:
        """Return the weighted sums: float32, whether or not the batch is mixed.

        Args:
            images: (N, H, W, C)
            partners: the partners' indices in the batch, int64 (N,)
            lam: the lambda that was drawn, 0..1; 1: the batch is not mixed
            draws: the batch's generator, on the CPU
        """
        return mixup(images, partners, lam), lam


class CutMix(BetaMix):
    """A box of one image in another, losses by area (Yun et al. 2019)."""

    kind: Literal["cutmix"] = "cutmix"

    def join(self, images: "Tensor", partners: "Tensor", lam: float, draws: "Generator") -> Mixture:
        """Put a box of each partner into the image.

        Args:
            images: (N, H, W, C)
            partners: the partners' indices in the batch, int64 (N,)
            lam: the lambda that was drawn, 0..1; 1: the batch is not mixed
            draws: the batch's generator, on the CPU
        """
        import torch

        if lam == 1:
            return images, lam
        center = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
        return cutmix(images, partners, cutmix_box(images.shape[1:3], lam, center))


Mix = SerializeAsAny[MixConfig]


def beta_quantile(alpha: float, quantile: float) -> float:
    """Return the ``quantile`` of Beta(alpha, alpha): both in 0..1."""
    from scipy.special import betaincinv

    return float(betaincinv(alpha, alpha, quantile))


def mixup(images: "Tensor", partners: "Tensor", lam: float) -> "Tensor":
    """Return lam * image + (1 - lam) * partner: float32 (N, H, W, C) (section 2).

    Args:
        images: (N, H, W, C), uint8 or float
        partners: the partners' indices in the batch, int64 (N,)
        lam: the weight of the image itself, 0..1
    """
    pixels = images.float()
    return pixels * lam + pixels[partners] * (1 - lam)


def cutmix(images: "Tensor", partners: "Tensor", box: Box) -> "tuple[Tensor, float]":
    """Put each partner's box into the image; the type stays.

    Args:
        images: (N, H, W, C)
        partners: the partners' indices in the batch, int64 (N,)
        box: top, bottom, left and right in pixels

    Returns:
        The images, and the fraction of the pixels that are still the image's own (equation 1, for
        the box that was cut by the border, as in the paper's code).
    """
    top, bottom, left, right = box
    out = images.clone()
    out[:, top:bottom, left:right] = images[partners, top:bottom, left:right]
    height, width = images.shape[1:3]
    return out, 1 - (bottom - top) * (right - left) / (height * width)


def cutmix_box(sides: tuple[int, ...], lam: float, center: list[float]) -> Box:
    """Return a box of sqrt(1 - lam) of both sides, cut by the border (equation 2).

    Args:
        sides: (H, W)
        lam: the fraction of the image that is not covered, 0..1
        center: row and column of the box's centre, each as a fraction of the side
    """
    edges = []
    for side, position in zip(sides, center, strict=True):
        middle, half = int(position * side), int(side * math.sqrt(1 - lam)) // 2
        edges += [max(0, middle - half), min(side, middle + half)]
    return edges[0], edges[1], edges[2], edges[3]
