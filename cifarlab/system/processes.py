"""Several processes that train one network, as torchrun starts them; one alone talks to nobody.

Each process holds the whole network and all images, and reads its part of every batch. What must be
whole is summed over all of them, so that each knows the same and decides the same. The first alone
touches the run folder and speaks.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from cifarlab.system.device import choose
from cifarlab.system.errors import CifarlabError, ProcessLostError, UserError

SILENCE = timedelta(minutes=10)  # a process that does not answer for so long counts as lost
PATIENCE = timedelta(days=1)  # for what one process does alone: a download, the last measurement

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process's number, counted from 0, among ``count``; ``local_rank`` on its machine.

    What says so is to be called by all of them, in the same order.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def part(self, images: int) -> slice:
        """This process's places among so many; the parts are as equal as can be."""
        whole, more = divmod(images, self.count)
        start = self.rank * whole + min(self.rank, more)
        return slice(start, start + whole + (self.rank < more))

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum over all, of tensors of one shape, in place. Called by all."""
        if self.count > 1:
            with _or_lost(self):
                distributed.all_reduce(tensor)
        return tensor

    def largest(self, *numbers: int) -> list[int]:
        """The largest of all processes' numbers in each place. Called by all."""
        if self.count == 1:
            return list(numbers)
        largest = torch.tensor(numbers, dtype=torch.int64)
        with _or_lost(self):
            distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return largest.tolist()

    def gathered(self, part: Tensor, images: int) -> Tensor:
        """All rows (``images``, ...) of which each process has its ``part``. Called by all."""
        if self.count == 1:
            return part
        rows = part.new_zeros(images, *part.shape[1:])
        rows[self.part(images)] = part
        return self.add_up(rows)

    def by_first(self, work: Callable[[], Result], *, patient: bool = False) -> Result:
        """Let the first process alone do it: all have its result, or raise its CifarlabError.

        Called by all; ``patient`` for what may take long.
        """
        if self.count == 1:
            return work()
        group = _patient_group(self) if patient else None
        told: list[Any] = [None, None]
        failure = None
        if self.first:
            try:
                told[0] = work()
            except CifarlabError as error:
                told[1] = failure = error
        with _or_lost(self):
            distributed.broadcast_object_list(told, 0, group, torch.device("cpu"))
        if told[1]:
            raise failure or told[1]
        result: Result = told[0]
        return result

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """Let one process of each machine do it, then the others, who find it done.

        Where it failed in any process, all raise a CifarlabError, their own or the first one's.
        Called by all.
        """
        if self.count == 1:
            return work()
        group = _patient_group(self)
        done: list[Result] = []
        failure = None
        for leaders in (True, False):
            if leaders == (self.local_rank == 0):
                try:
                    done.append(work())
                except CifarlabError as error:
                    failure = error
            with _or_lost(self):
                distributed.barrier(group)
        failures: list[CifarlabError | None] = [None] * self.count
        with _or_lost(self):
            distributed.all_gather_object(failures, failure)
        for told in failures:
            if told:
                raise failure or told
        return done[0]


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, once all are there; without it, this one alone.

    gloo connects CPUs, NCCL GPUs, of which each process of a machine takes its own. Raises
    UserError for what several processes can't do, ProcessLostError where one does not come.
    """
    if not launched():
        yield ALONE
        return
    rank, count, local_rank, local = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    processes = Processes(rank, count, local_rank)
    compute = choose()
    backend = "gloo"
    if compute.device.type == "cuda":
        if local > torch.cuda.device_count():
            raise UserError(
                f"{local} processes for the {torch.cuda.device_count()} GPUs of this machine",
                "start as many as there are GPUs: torchrun --nproc-per-node gpu",
            )
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    if compute.compile_mode:
        raise UserError(
            f"CIFARLAB_COMPILE={compute.compile_mode}: what is summed over several processes "
            "inside the network is not compiled",
            "leave CIFARLAB_COMPILE out, or train in one process",
        )
    with _or_lost(processes):
        distributed.init_process_group(backend, timeout=SILENCE)
    yield processes
    # not after an error: NCCL would wait for those that are lost
    distributed.destroy_process_group()


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def _patient_group(processes: Processes) -> Any:
    with _or_lost(processes):
        return distributed.new_group(backend="gloo", timeout=PATIENCE)


@contextmanager
def _or_lost(processes: Processes) -> Iterator[None]:
    """What torch.distributed raises where a peer is gone, as an error of ours."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ProcessLostError(
            f"another of the {processes.count} processes was lost, or silent for "
            f"{SILENCE.total_seconds() / 60:g} minutes (process {processes.rank} noticed)",
            "go on from the last checkpoint with --resume, in as many processes as you like",
        ) from error
