"""The loader: one uint8 tensor, shuffled, gathered and augmented by the batch on the device."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cifarlab.data.augment import Augmentation, sent
from cifarlab.data.splits import Subset
from cifarlab.errors import DataError
from cifarlab.randomness import generator

_SHARE_OF_GPU_MEMORY = 0.5  # the rest is the network's


class Batch(NamedTuple):
    """``images`` uint8 (N, H, W, C) and ``labels`` int64 (N,), both on the training device."""

    images: Tensor
    labels: Tensor


class Loader:
    """Training batches: each epoch shows every image once, in an order of its own.

    The order comes from (seed, epoch) and the augmentation from (seed, epoch, step): nothing else
    decides them. The rest of the images make a smaller last batch, unless it is a single one,
    which batch normalisation can't use; which image is left out changes from epoch to epoch.
    """

    def __init__(
        self,
        subset: Subset,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        if len(subset) < 2:
            raise DataError(f"{len(subset)} training images are too few", "give at least two")
        self.batch_size = min(batch_size, len(subset))
        self.seed = seed
        self.augmentation = augmentation
        self.device = device
        self.images = resident(as_tensor(subset.images), device)
        self.labels = torch.from_numpy(subset.labels)
        self.indices = torch.from_numpy(subset.indices)
        whole, rest = divmod(len(subset), self.batch_size)
        self.steps_per_epoch = whole + (rest > 1)

    def order(self, epoch: int) -> Tensor:
        """Places in the split, int64 (n,), in the order in which ``epoch`` shows them."""
        draws = generator(self.seed, "order", epoch)
        return self.indices[torch.randperm(len(self.indices), generator=draws)]

    def epoch(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Batches ``start`` to ``stop`` (default: all) of an epoch; both count from 0."""
        order = self.order(epoch)
        # a whole epoch at once, so that no step waits for a copy
        places = order.to(self.images.device)
        labels = self.labels[order].to(self.device)
        for step in range(start, self.steps_per_epoch if stop is None else stop):
            batch = slice(step * self.batch_size, (step + 1) * self.batch_size)
            images = self.images[places[batch]]
            if images.device != self.device:
                images = sent(images, self.device)
            yield Batch(self.augmentation(images, order[batch], epoch, step), labels[batch])


def as_tensor(images: np.ndarray) -> Tensor:
    """A tensor over the same memory, mapped from disk or not; it must never be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def resident(images: Tensor, device: torch.device) -> Tensor:
    """The images on the GPU if they take at most half of its free memory, else as they are."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if images.nbytes <= _SHARE_OF_GPU_MEMORY * free:
            return images.to(device)
    return images
