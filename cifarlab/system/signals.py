"""The one way to end a run early: a request that a signal, a search or a caller makes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal, get_args

# of two requests, the one whose reason comes later in this list counts
StopReason = Literal["planned", "early_stopping", "max_time", "stopped", "abandoned", "signal"]
STOP_REASONS: tuple[StopReason, ...] = get_args(StopReason)
AT_ONCE = ("abandoned", "signal")


@dataclass
class StopRequest:
    """Why a run is asked to end before its planned length; ``planned``: it is not asked.

    ``stopped`` (by a search) ends it after the epoch, with a result. Those of AT_ONCE end it after
    the step, with a checkpoint from which it may go on: a ``signal`` (``signum``), or because it
    was ``abandoned``. The loop adds what the recipe itself says: ``early_stopping``, ``max_time``.
    """

    reason: StopReason = "planned"
    signum: int = 0

    def ask(self, reason: StopReason, signum: int = 0) -> None:
        """Ask the run to end, from any thread; an earlier request with a later reason stays."""
        if STOP_REASONS.index(reason) >= STOP_REASONS.index(self.reason):
            self.signum = signum or self.signum  # first: a signal may come in between
            self.reason = reason


@contextmanager
def stop_on_signal(stop: StopRequest | None = None) -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a request; a second of its kind acts as before.

    SIGHUP, of a closed terminal, stays ignored where it is (nohup). Within another such context a
    signal reaches both requests.
    """
    stop = stop or StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    caught: list[int] = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        caught.append(signal.SIGHUP)
    before = {signum: signal.getsignal(signum) for signum in caught}

    def remember(signum: int, frame: FrameType | None) -> None:
        stop.ask("signal", signum)
        outer = before[signum]
        signal.signal(signum, outer)
        if callable(outer) and getattr(outer, "__code__", None) is remember.__code__:
            outer(signum, frame)

    for signum in before:
        signal.signal(signum, remember)
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            if signal.getsignal(signum) is remember:  # no signal has come
                signal.signal(signum, handler)
