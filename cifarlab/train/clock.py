"""Separate clocks for training and evaluation; reading one waits for the device first."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cifarlab.compute import Compute


@dataclass
class Clock:
    """Seconds spent in each activity, over all starts of a run."""

    compute: Compute
    seconds: dict[str, float]

    @contextmanager
    def running(self, activity: str) -> Iterator[None]:
        """Count the block's time to ``activity``, also when it ends by an exception."""
        self.compute.synchronise()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.compute.synchronise()
            self.seconds[activity] += time.perf_counter() - start
