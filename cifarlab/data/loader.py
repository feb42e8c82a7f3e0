"""The loader: one uint8 tensor, shuffled, gathered and augmented by the batch on the device."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cifarlab.augment.draws import select_shard
from cifarlab.augment.pipeline import Augmentation
from cifarlab.config.plugins import plugin_errors
from cifarlab.data.dataset import Subset
from cifarlab.data.samplers import SamplerConfig, UniformSampler
from cifarlab.system.errors import DataError
from cifarlab.system.randomness import generator
from cifarlab.system.transfer import cache_on_gpu, to_device


class Batch(NamedTuple):
    """Images (N, H, W, C), uint8 or float32, and labels int64 (N,), both on the training device.

    Of mixed images ``labels`` count for ``lam`` of the loss, 0..1, and ``partner_labels``, those of
    their partners, for the rest. ``n_examples`` is set where these are a part of a batch of so
    many.
    """

    images: Tensor
    labels: Tensor
    partner_labels: Tensor | None = None
    lam: float = 1.0
    n_examples: int | None = None

    @property
    def global_size(self) -> int:
        """Return how many images the whole batch has, those of other processes too."""
        return len(self.labels) if self.n_examples is None else self.n_examples

    @property
    def main_labels(self) -> Tensor:
        """Return the labels, of mixed images those that count for more."""
        partner_labels = self.partner_labels
        return self.labels if partner_labels is None or self.lam >= 0.5 else partner_labels

    def select(self, indices: Tensor | slice) -> "Batch":
        """Return the images at these indices (n,), in their order, as a batch."""
        partner_labels = None if self.partner_labels is None else self.partner_labels[indices]
        return Batch(self.images[indices], self.labels[indices], partner_labels, self.lam)


class Loader:
    """Training batches: each epoch shows the images that the sampler gives it, in its order.

    The order comes from (seed, epoch) and the augmentation from (seed, epoch, step): nothing else
    decides them. ``batch_sizes`` cut it (training/plan.py).

    ``local_indices`` gives this process's images of a batch of so many, ascending; None: all.
    """

    def __init__(
        self,
        subset: Subset,
        augmentation: Augmentation,
        batch_sizes: Sequence[int],
        seed: int,
        device: torch.device,
        local_indices: Callable[[int], Tensor | None] = lambda _: None,
        sampler: SamplerConfig = UniformSampler(),  # noqa: B008  # frozen
    ) -> None:
        if len(subset) < 2:
            raise DataError(f"{len(subset)} training images are too few", "give at least two")
        self.seed = seed
        self.augmentation = augmentation
        self.device = device
        self.local_indices = local_indices
        self.images = cache_on_gpu(as_tensor(subset.images), device)
        self.labels = torch.from_numpy(subset.labels)
        self.indices = torch.from_numpy(subset.indices)
        self.batch_sizes = batch_sizes
        with plugin_errors(sampler):
            self._sample = plugin_errors(sampler)(sampler.build(subset))

    def order(self, epoch: int) -> Tensor:
        """Return indices in the split, int64 (n,), in the order in which ``epoch`` shows them."""
        return self.indices[self._sample(generator(self.seed, "order", epoch))]

    def epoch(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Yield batches ``start`` to ``stop`` (default: all) of an epoch; both count from 0."""
        order = self.order(epoch)
        # a whole epoch at once, so that no step waits for a copy
        indices = to_device(order, self.images.device)
        labels = to_device(self.labels[order], self.device)
        bounds = list(pairwise(accumulate(self.batch_sizes, initial=0)))
        for step in range(start, len(bounds) if stop is None else stop):
            batch = slice(*bounds[step])
            shard = self.local_indices(self.batch_sizes[step])
            images = to_device(self.images[select_shard(indices[batch], shard)], self.device)
            local_labels = select_shard(labels[batch], shard)
            yield self.augment(images, local_labels, order[batch], epoch, step)

    def augment(
        self, images: Tensor, labels: Tensor, indices: Tensor, epoch: int, step: int
    ) -> Batch:
        """Return a batch as it is trained on; ``indices`` (N,), on the CPU, are of the split.

        Images and labels are those that are read of it; to be mixed, all must be.
        """
        shard_indices = self.local_indices(len(indices))
        images = self.augmentation(images, indices, epoch, step, shard_indices)
        if shard_indices is not None:
            return Batch(images, labels, n_examples=len(indices))
        mix = self.augmentation.config.mix
        with plugin_errors(mix):
            images, partners, lam = mix.mix(images, self.seed, epoch, step)
        return Batch(images, labels, None if partners is None else labels[partners], lam)


def as_tensor(images: np.ndarray) -> Tensor:
    """Return a tensor over the same memory, mapped or not; it must never be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)
