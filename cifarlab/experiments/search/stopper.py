"""When a search ends before its last trial: its time limit, a signal, a disk that is full."""

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Stopper as TuneStopper

from cifarlab.config.duration import WallTime


class Stopper(TuneStopper):
    """Ends all trials at once; they stay at their last checkpoints."""

    def __init__(self, max_time: WallTime | None, should_stop: Callable[[], bool]) -> None:
        self._end = time.monotonic() + max_time.seconds if max_time else None
        self._should_stop = should_stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never a trial alone: that is the scheduler's."""
        return False

    def stop_all(self) -> bool:
        """Whether to end now."""
        return self._should_stop() or (self._end is not None and time.monotonic() >= self._end)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of it outlives the process."""
        return {}
