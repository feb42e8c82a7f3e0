"""Several processes that train one network, as torchrun starts them.

Each process holds the whole network and all images, and reads its part of every batch. What belongs
to the whole batch is summed over all of them, so that each computes the same and decides the same.
Only the first writes to the run folder and prints.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from cifarlab.system.device import choose_compute
from cifarlab.system.errors import CifarlabError, ProcessLostError, UserError

SILENCE = timedelta(minutes=10)  # a process that does not answer for so long counts as lost
PATIENCE = timedelta(days=1)  # for what one process does alone: a download, the last measurement

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process's number, counted from 0, among ``world_size``.

    Methods that say so must be called by all of them, in the same order.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Return whether this is the process that writes files and prints."""
        return self.rank == 0

    def shard(self, images: int) -> slice:
        """Return the slice of so many images that this process reads, as equal as can be."""
        base, remainder = divmod(images, self.world_size)
        start = self.rank * base + min(self.rank, remainder)
        return slice(start, start + base + (self.rank < remainder))

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Add up tensors of one shape over all processes, in place. Called by all."""
        if self.world_size > 1:
            self._call(distributed.all_reduce, tensor)
        return tensor

    def all_reduce_max(self, *numbers: int) -> list[int]:
        """Return the largest of all processes' numbers at each position. Called by all."""
        if self.world_size == 1:
            return list(numbers)
        largest = torch.tensor(numbers, dtype=torch.int64)
        self._call(distributed.all_reduce, largest, distributed.ReduceOp.MAX)
        return largest.tolist()

    def all_gather(self, shard: Tensor, images: int) -> Tensor:
        """Return all rows (``images``, ...) of which each process has its shard. Called by all."""
        if self.world_size == 1:
            return shard
        rows = shard.new_zeros(images, *shard.shape[1:])
        rows[self.shard(images)] = shard
        return self.all_reduce(rows)

    def broadcast_from_rank0(self, work: Callable[[], Result], *, patient: bool = False) -> Result:
        """Run ``work`` in the main process; all return its result, or raise its CifarlabError.

        Called by all; ``patient`` where it may take longer than SILENCE.
        """
        if self.world_size == 1:
            return work()
        group = self._patient_group() if patient else None
        outcome: list[Any] = [_attempt(work) if self.is_main_process else None]
        self._call(distributed.broadcast_object_list, outcome, 0, group, torch.device("cpu"))
        if isinstance(outcome[0], CifarlabError):
            raise outcome[0]
        return cast(Result, outcome[0])

    def run_in_all(self, work: Callable[[], Result]) -> Result:
        """Run ``work``, which may take longer than SILENCE, in each process, and wait for all.

        Where it fails in any of them, each raises a CifarlabError, its own or another's. Called by
        all.
        """
        if self.world_size == 1:
            return work()
        outcome = _attempt(work)
        error = outcome if isinstance(outcome, CifarlabError) else None
        failures: list[CifarlabError | None] = [None] * self.world_size
        self._call(distributed.all_gather_object, failures, error, self._patient_group())
        for failure in filter(None, [error, *failures]):
            raise failure
        return cast(Result, outcome)

    def _patient_group(self) -> Any:
        return self._call(distributed.new_group, backend="gloo", timeout=PATIENCE)

    def _call(self, collective: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Return the result of a collective. Raises ProcessLostError where a process is gone."""
        try:
            return collective(*args, **options)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ProcessLostError(
                f"another of the {self.world_size} processes was lost, or silent for "
                f"{SILENCE.total_seconds() / 60:g} minutes (process {self.rank} noticed)",
                "go on from the last checkpoint with --resume, in as many processes as you like",
            ) from error


def _attempt(work: Callable[[], Result]) -> Result | CifarlabError:
    try:
        return work()
    except CifarlabError as error:
        return error


SINGLE_PROCESS = Processes()


@contextmanager
def init_distributed() -> Iterator[Processes]:
    """Yield the processes that torchrun started, once all are connected; without it, this one.

    gloo connects CPUs, NCCL GPUs, of which each process of a machine takes its own.

    Raises:
        UserError: more processes than GPUs, one device named for several, or a compiled network in
            several processes
        ProcessLostError: one of them does not answer
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, world_size, local_rank, local_size = (int(os.environ.get(name, 1)) for name in names)
    if "TORCHELASTIC_RUN_ID" not in os.environ or world_size == 1:
        yield SINGLE_PROCESS
        return
    processes = Processes(rank, world_size)
    compute = choose_compute()
    backend = "gloo"
    name = os.environ.get("CIFARLAB_DEVICE", "")
    if ":" in name or compute.device.type == "mps":
        what = f"CIFARLAB_DEVICE={name}: that is one device, for {world_size} processes"
        raise UserError(what, "take cuda, of which each process takes its own GPU, or cpu")
    if compute.device.type == "cuda":
        if local_size > torch.cuda.device_count():
            what = f"{local_size} processes for the {torch.cuda.device_count()} GPUs here"
            raise UserError(what, "start as many as there are GPUs: torchrun --nproc-per-node gpu")
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    if compute.compile_mode:
        raise UserError(
            f"CIFARLAB_COMPILE={compute.compile_mode}: what is summed over several processes "
            "inside the network is not compiled",
            "leave CIFARLAB_COMPILE out, or train in one process",
        )
    processes._call(distributed.init_process_group, backend, timeout=SILENCE)
    yield processes
    # not after an error: NCCL would wait for those that are lost
    distributed.destroy_process_group()
