"""Processes of this machine that a terminal's signals and the user's script don't reach."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any

# a terminal sends them to all processes; only the driver may handle them
_TERMINAL_SIGNALS = {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}


def start_process(function: Callable[..., Any], args: tuple[Any, ...]) -> SpawnProcess:
    """Call a function in a new process, which inherits nothing: a forked one can't use a GPU.

    Args:
        function: is found by its name, so a module has it
        args: its arguments, which can be pickled
    """
    target = _call_without_signals
    process = get_context("spawn").Process(target=target, args=(function, args))
    with _shielded_spawn():
        process.start()
    return process


@contextmanager
def _shielded_spawn() -> Iterator[None]:
    """Keep the terminal's signals and the user's script away from processes started meanwhile."""
    main = sys.modules["__main__"]
    can_mask = hasattr(signal, "pthread_sigmask")  # not on Windows
    if can_mask:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
        resource_tracker.ensure_running()  # its start unblocks SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if can_mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _call_without_signals(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Call a function in a process that was started with the terminal's signals blocked."""
    for signum in _TERMINAL_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERMINAL_SIGNALS)
    function(*args)
