"""How many threads a run computes with on a CPU: as many as cores are free when it starts.

All threads wait for the slowest at every layer. Where another process keeps one of two cores busy,
two threads train 2 to 15 times more slowly than both cores do alone, one thread only 2 times.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import joblib
import psutil

from cifarlab.system.errors import UserError

_MEASURING_TIME = 0.5  # seconds over which the load of other processes is measured
_VALID_TIME = 60.0  # seconds for which a measurement holds: short runs of a study follow each other

_last_load: tuple[float, float] | None = None  # when (monotonic seconds), and busy cores
_limit: int | None = None  # threads of each of several processes that share the cores


class Threads(NamedTuple):
    """A number of threads, and why it is less than all cores: empty where it is not."""

    number: int
    note: str = ""


def use_threads(requested: int | None, earlier: int | None = None) -> Threads:
    """Set the threads that this process computes with from now on, and return them.

    ``requested`` wins, then $OMP_NUM_THREADS, then ``earlier``, those of the run that goes on,
    whose bits depend on them, then the free cores.

    Raises:
        UserError: less than one is requested, or more than there are processors
    """
    import torch

    threads = _choose(requested, earlier)
    torch.set_num_threads(threads.number)
    return threads


def _choose(requested: int | None, earlier: int | None) -> Threads:
    if requested is not None:
        most = psutil.cpu_count() or 1
        if not 1 <= requested <= most:
            what = f"{requested} threads: this machine has {most} processors"
            raise UserError(what, f"take 1 to {most}, or leave it out")
        return Threads(requested)
    # with more threads than cores its bits would not be the same either, and it would be slow
    if earlier is not None and earlier > cores():
        earlier = None
    if _limit is not None:
        return Threads(earlier or _limit)
    available = available_threads()
    if earlier is None or env_threads() or earlier == available.number:
        return available
    note = f"this run goes on with its {_threads(earlier)}, so that its bits hold"
    return Threads(earlier, "; ".join(filter(None, (available.note, note))))


def available_threads() -> Threads:
    """Return what $OMP_NUM_THREADS says, else the number of cores that no other process uses.

    Takes half a second, at most once a minute.
    """
    global _last_load
    if n_threads := env_threads():
        return Threads(n_threads)
    if _last_load is None or time.monotonic() - _last_load[0] > _VALID_TIME:
        _last_load = time.monotonic(), busy_cores()
    count = max(1, min(cores(), int(_physical() - _last_load[1] + 0.5)))
    if count == cores():
        return Threads(count)
    others = f"other processes use {_last_load[1]:.1f} of these {cores()} cores"
    return Threads(count, f"{others}: {_threads(count)} (OMP_NUM_THREADS=N for another number)")


def limit_threads(count: int) -> None:
    """Compute with ``count`` threads: this process is one of several that share the cores."""
    import torch

    global _limit
    _limit = count
    torch.set_num_threads(count)


@contextmanager
def hold_threads(count: int) -> Iterator[None]:
    """Let all runs of the block compute with ``count`` threads, whatever cores get free or busy."""
    global _limit
    before, _limit = _limit, count
    try:
        yield
    finally:
        _limit = before


def env_threads() -> int | None:
    """Return what $OMP_NUM_THREADS says, of its nested numbers the first; None without it."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) or None if text.isdecimal() else None


def cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's limit.

    Two hardware threads of one core count as one, as in PyTorch's own default.
    """
    return max(1, min(joblib.cpu_count(), round(_physical())))


def _physical() -> float:
    siblings = (psutil.cpu_count() or 1) / (psutil.cpu_count(logical=False) or 1)
    return len(_own_cpus()) / max(1.0, siblings)


def busy_cores() -> float:
    """Return how many of this process's cores others kept busy for half a second.

    Processes of lower priority give way and don't count, unless this one has a low priority too.
    """
    before, own_before = _busy_seconds(), sum(psutil.Process().cpu_times()[:2])
    start = time.monotonic()
    time.sleep(_MEASURING_TIME)
    own_seconds = sum(psutil.Process().cpu_times()[:2]) - own_before
    return max(0.0, (_busy_seconds() - before - own_seconds) / (time.monotonic() - start))


def _busy_seconds() -> float:
    """Return the seconds that any process used of this one's cores since the machine started."""
    fields = ["user", "system", "irq", "softirq", "steal"]
    if psutil.Process().nice() > 0:
        fields.append("nice")
    times = psutil.cpu_times(percpu=True)
    return sum(getattr(times[cpu], name, 0.0) for cpu in _own_cpus() for name in fields)


def _own_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return [cpu for cpu in os.sched_getaffinity(0) if cpu < (psutil.cpu_count() or 1)]
    return list(range(psutil.cpu_count() or 1))


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
