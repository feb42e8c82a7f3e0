"""Which images of a batch this process has."""

from typing import NamedTuple

from torch import Tensor

from cifarlab.system.transfer import sent


class Part(NamedTuple):
    """The images at ``places``, int64 (n,) on the CPU, of a batch of ``whole``; None: all of them.

    Draws are made for the whole batch, so that they are the same for any number of processes.
    """

    whole: int
    places: Tensor | None = None

    def of(self, rows: Tensor) -> Tensor:
        """The part's rows (n, ...) of the batch's (N, ...), on any device."""
        return rows if self.places is None else rows[sent(self.places, rows.device)]
