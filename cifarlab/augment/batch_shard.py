"""Which images of a batch this process has."""

from typing import NamedTuple

from torch import Tensor

from cifarlab.system.transfer import sent


class BatchShard(NamedTuple):
    """The images at ``indices``, int64 (n,) on the CPU, of a batch of ``global_size``; None: all.

    Draws are made for the whole batch, so that they are the same for any number of processes.
    """

    global_size: int
    indices: Tensor | None = None

    def select(self, rows: Tensor) -> Tensor:
        """Return the shard's rows (n, ...) of the batch's (N, ...), on any device."""
        return rows if self.indices is None else rows[sent(self.indices, rows.device)]
