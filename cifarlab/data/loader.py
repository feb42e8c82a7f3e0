"""The loader: images are one uint8 tensor; batches are gathered and augmented on the device."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cifarlab.augment.draws import select_shard
from cifarlab.augment.pipeline import Augmentation
from cifarlab.config.plugins import plugin_errors
from cifarlab.data.dataset import Subset
from cifarlab.data.samplers import SamplerConfig, UniformSampler
from cifarlab.system.errors import DataError, RecipeError
from cifarlab.system.randomness import generator
from cifarlab.system.transfer import cache_on_gpu, to_device

_TYPES = (torch.uint8, torch.float32)  # of images


class Batch(NamedTuple):
    """Images (N, H, W, C), uint8 or float32, and labels int64 (N,), both on the training device.

    Of mixed images ``labels`` count for ``lam`` of the loss, 0..1, and ``partner_labels``, those of
    their partners, for the rest. Where these images are one process's part of a batch,
    ``n_examples`` is the size of the batch.
    """

    images: Tensor
    labels: Tensor
    partner_labels: Tensor | None = None
    lam: float = 1.0
    n_examples: int | None = None

    @property
    def global_size(self) -> int:
        """Return the number of images of the batch in all processes."""
        return len(self.labels) if self.n_examples is None else self.n_examples

    @property
    def main_labels(self) -> Tensor:
        """Return the labels; of mixed images those with the larger weight."""
        partner_labels = self.partner_labels
        return self.labels if partner_labels is None or self.lam >= 0.5 else partner_labels

    def select(self, indices: Tensor | slice) -> "Batch":
        """Return the images at ``indices`` (n,), in that order, as a batch."""
        partner_labels = None if self.partner_labels is None else self.partner_labels[indices]
        return Batch(self.images[indices], self.labels[indices], partner_labels, self.lam)


class Loader:
    """Training batches: each epoch shows the images that the sampler draws, in its order.

    The order follows from (seed, epoch), the augmentation from (seed, epoch, step), and neither
    from anything else.

    Args:
        subset: the training images
        augmentation: what each batch goes through
        batch_sizes: the sizes of an epoch's batches (training/plan.py)
        seed: the run's seed
        device: where batches are needed
        local_indices: returns this process's indices, ascending, of a batch of that size; None:
            all
        sampler: which images an epoch shows

    Raises:
        DataError: there are fewer than two images
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
        self._host_images = as_tensor(subset.images)
        self.images = cache_on_gpu(self._host_images, device)
        self.labels = torch.from_numpy(subset.labels)
        self.indices = torch.from_numpy(subset.indices)
        self.batch_sizes = batch_sizes
        with plugin_errors(sampler):
            self._sample = plugin_errors(sampler)(sampler.build(subset))

    def release_images(self) -> bool:
        """Read the images from the host's memory from now on; return whether they were on a GPU."""
        were_cached, self.images = self.images is not self._host_images, self._host_images
        return were_cached

    def order(self, epoch: int) -> Tensor:
        """Return indices in the split, int64 (n,), in the order in which ``epoch`` shows them.

        Raises:
            RecipeError: the sampler's positions are not so many, int64, or in the training part
        """
        positions, n = self._sample(generator(self.seed, "order", epoch)), len(self.indices)
        if not _are_indices(positions, n):
            what = f"data.sampler gives no {n} positions int64 from 0 to {n - 1}"
            raise RecipeError(what, "mend what its build returns")
        return self.indices[positions]

    def epoch(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Yield an epoch's batches.

        Args:
            epoch: the epoch, from 0
            start: the first batch, from 0
            stop: the batch after the last one; None: to the epoch's end
        """
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
        """Return a batch as it is trained on.

        Args:
            images: this process's images (n, H, W, C), uint8; all of the batch where it is mixed
            labels: their labels int64 (n,)
            indices: indices in the split of all images of the batch, int64 (N,), on the CPU
            epoch: the epoch, from 0
            step: the step in the epoch, from 0

        Raises:
            RecipeError: an augmentation or a mix returns what can't be trained on
        """
        shard_indices = self.local_indices(len(indices))
        images = self.augmentation(images, indices, epoch, step, shard_indices)
        if shard_indices is not None:
            return Batch(images, labels, n_examples=len(indices))
        mix = self.augmentation.config.mix
        with plugin_errors(mix):
            mixed, partners, lam = mix.mix(images, self.seed, epoch, step)
            is_sound = mixed.shape == images.shape and mixed.dtype in _TYPES and 0 <= lam <= 1
        if not is_sound or not (partners is None or _are_indices(partners, len(labels))):
            what = f"augment.mix.kind={mix.kind} gives no {[*images.shape]}, indices and fraction"
            raise RecipeError(what, "docs/extend.md says what its mix returns")
        return Batch(mixed, labels, None if partners is None else labels[partners], lam)


def _are_indices(values: Any, n: int) -> bool:
    """Return whether these are n int64 from 0 to n - 1; on a GPU their range is not looked at."""
    is_list = isinstance(values, Tensor) and values.dtype == torch.int64 and values.shape == (n,)
    # a GPU would have to wait for it
    return is_list and (values.device.type != "cpu" or bool(values.min() >= 0 and values.max() < n))


def as_tensor(images: np.ndarray) -> Tensor:
    """Return a tensor over the same memory, mapped or not; it must never be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)
