"""SIGINT, SIGTERM and SIGHUP end the step at hand instead of the process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """``signum`` is the signal that asked the run to stop, 0 while none did."""

    signum: int = 0


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Collect the first signal in a Stop; a second one of the same kind acts as usual."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    before = {int(signum): signal.getsignal(signum) for signum in _caught()}

    def remember(signum: int, _frame: FrameType | None) -> None:
        stop.signum = signum
        signal.signal(signum, before[signum])

    for caught in before:
        signal.signal(caught, remember)
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _caught() -> list[int]:
    """The signals that ask to stop: a closed terminal's only where it is not ignored (nohup)."""
    caught: list[int] = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        caught.append(signal.SIGHUP)
    return caught
