"""Processes as threads of one process: ``all_reduce`` waits for all of them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cifarlab.system.processes import Processes


@dataclass
class Meeting:
    count: int
    tensors: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.count, timeout=20)

    def __deepcopy__(self, memo: dict) -> "Meeting":
        return self


@dataclass(frozen=True)
class Threaded(Processes):
    meeting: Meeting | None = None

    def all_reduce(self, tensor: Tensor) -> Tensor:
        meeting = self.meeting
        assert meeting is not None
        meeting.tensors[self.rank] = tensor.clone()
        meeting.barrier.wait()
        total = torch.stack([meeting.tensors[rank] for rank in range(self.world_size)]).sum(0)
        meeting.barrier.wait()
        return tensor.copy_(total)


def in_threads(count: int, work: Callable[[Processes], Any]) -> list[Any]:
    """Return the results of ``work`` in each of ``count`` processes that run at the same time."""
    meeting = Meeting(count)
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work, Threaded(rank, count, meeting)) for rank in range(count)]
        return [future.result() for future in futures]
