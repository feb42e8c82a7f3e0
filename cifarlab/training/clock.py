"""Separate clocks for training and evaluation; reading one waits for the device first."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cifarlab.system.device import Compute


@dataclass
class Clock:
    """The seconds that each activity took, over all starts of a run."""

    compute: Compute
    seconds: dict[str, float]

    _start: float | None = None

    @property
    def total(self) -> float:
        """The seconds of all activities, the present one included; does not wait for the device."""
        running = 0.0 if self._start is None else time.perf_counter() - self._start
        return sum(self.seconds.values()) + running

    @contextmanager
    def profile(self, activity: str) -> Iterator[None]:
        """Add the block's time to ``activity``, also when the block ends by an exception."""
        self.compute.synchronize()
        start = self._start = time.perf_counter()
        try:
            yield
        finally:
            self.compute.synchronize()
            self.seconds[activity] += time.perf_counter() - start
            self._start = None
