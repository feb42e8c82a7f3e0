"""The random draws for a batch, and the images of it that this process has."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cifarlab.system.randomness import generator
from cifarlab.system.transfer import to_device

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class BatchDraws:
    """The random draws for one batch, the same on every device and for any number of processes.

    Each draw is made for the whole batch, from a generator named by seed, purpose, epoch and step.

    Attributes:
        seed: The run's seed.
        epoch: The epoch, from 0.
        step: The step in the epoch, from 0.
        indices: The whole batch's images in their split, int64 (N,) on the CPU.
        shard_indices: This process's images in the batch, int64 (n,) on the CPU; None: all.
        device: Where the draws are needed.
        purpose: Names the generator where a method is given none.
    """

    seed: int
    epoch: int
    step: int
    indices: Tensor
    shard_indices: Tensor | None = None
    device: torch.device = _CPU
    purpose: str = ""
    _generators: dict[str, torch.Generator] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return the number N of images of the whole batch."""
        return len(self.indices)

    def generator(self, purpose: str = "") -> torch.Generator:
        """Return the CPU generator of ``purpose``, the same one at each call for this batch."""
        purpose = purpose or self.purpose
        if purpose not in self._generators:
            self._generators[purpose] = generator(self.seed, purpose, self.epoch, self.step)
        return self._generators[purpose]

    def rand(self, purpose: str, *shape: int) -> Tensor:
        """Draw from 0..1 for each image of the whole batch: float32 (N, *shape) on the CPU."""
        return torch.rand(self.size, *shape, generator=self.generator(purpose))

    def rand_symmetric(self, purpose: str) -> Tensor:
        """Draw from -1..1 for each image of the whole batch: float32 (N,) on the CPU."""
        return self.rand(purpose) * 2 - 1

    def integers(self, purpose: str, end: int, *shape: int) -> Tensor:
        """Draw integers for each image of the whole batch: int64 (N, *shape) on the CPU.

        Args:
            purpose: names the generator
            end: the largest integer is ``end`` - 1, the least 0
            *shape: the shape of an image's draws
        """
        return torch.randint(0, end, (self.size, *shape), generator=self.generator(purpose))

    def uniform(self, *shape: int) -> Tensor:
        """Draw from 0..1 for each image of this process: float32 (n, *shape) on the device."""
        return self.take(self.rand("", *shape))

    def take(self, rows: Tensor) -> Tensor:
        """Return this process's rows (n, ...) of the batch's (N, ...), copied to the device."""
        return to_device(select_shard(rows, self.shard_indices), self.device)


def select_shard(rows: Tensor, shard_indices: Tensor | None) -> Tensor:
    """Return the rows at these indices, int64 (n,) on the CPU; None: all."""
    return rows if shard_indices is None else rows[to_device(shard_indices, rows.device)]
