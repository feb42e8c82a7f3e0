"""Separate clocks for training and evaluation; reading one waits for the device first."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cifarlab.system.device import Compute


@dataclass
class Clock:
    """Seconds spent in each activity, over all starts of a run."""

    compute: Compute
    seconds: dict[str, float]

    _begun: float | None = None

    @property
    def total(self) -> float:
        """Seconds of all activities, that of the running one up to now, without waiting."""
        running = 0.0 if self._begun is None else time.perf_counter() - self._begun
        return sum(self.seconds.values()) + running

    @contextmanager
    def running(self, activity: str) -> Iterator[None]:
        """Count the block's time to ``activity``, also when it ends by an exception."""
        self.compute.synchronize()
        start = self._begun = time.perf_counter()
        try:
            yield
        finally:
            self.compute.synchronize()
            self.seconds[activity] += time.perf_counter() - start
            self._begun = None
