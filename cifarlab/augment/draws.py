"""The random draws for a batch, and which of its images this process has."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cifarlab.system.randomness import generator
from cifarlab.system.transfer import to_device

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class BatchDraws:
    """What is drawn for one batch: the same on every device and for any number of processes.

    ``indices``, int64 (N,) on the CPU, are of the whole batch's images in their split. This
    process has those at ``shard_indices``, int64 (n,) on the CPU, None: all. Each draw is made for
    the whole batch, from a generator named by seed, purpose, epoch and step.
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
        """Return the number N of the whole batch's images."""
        return len(self.indices)

    def generator(self, purpose: str = "") -> torch.Generator:
        """Return the CPU generator of that purpose, or the kind's; asked for again, it goes on."""
        purpose = purpose or self.purpose
        if purpose not in self._generators:
            self._generators[purpose] = generator(self.seed, purpose, self.epoch, self.step)
        return self._generators[purpose]

    def rand(self, purpose: str, *shape: int) -> Tensor:
        """Draw from 0..1 for each image of the batch: float32 (N, *shape) on the CPU."""
        return torch.rand(self.size, *shape, generator=self.generator(purpose))

    def symmetric(self, purpose: str) -> Tensor:
        """Draw from -1..1 for each image of the batch: float32 (N,) on the CPU."""
        return self.rand(purpose) * 2 - 1

    def integers(self, purpose: str, end: int, *shape: int) -> Tensor:
        """Draw from 0 to ``end`` - 1 for each image of the batch: int64 (N, *shape) on the CPU."""
        return torch.randint(0, end, (self.size, *shape), generator=self.generator(purpose))

    def uniform(self, *shape: int) -> Tensor:
        """Draw from 0..1 for each image of this process: float32 (n, *shape) on the device."""
        return self.local(self.rand("", *shape))

    def local(self, rows: Tensor) -> Tensor:
        """Return this process's rows (n, ...) of the batch's (N, ...), on the device, unwaited."""
        return to_device(select_shard(rows, self.shard_indices), self.device)


def select_shard(rows: Tensor, shard_indices: Tensor | None) -> Tensor:
    """Return the rows at these indices, int64 (n,) on the CPU; None: all."""
    return rows if shard_indices is None else rows[to_device(shard_indices, rows.device)]
