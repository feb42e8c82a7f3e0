"""Checkpoints: ``last`` to go on from, ``best`` by validation.

    last.safetensors         weights, with all that prediction needs (evaluate.WeightsFile)
    last.state.safetensors   optimizer, running sums and counters; where weights are averaged,
                             also those that training goes on with, and the averager's state
    best.safetensors         weights of the best epoch so far

The two files of ``last`` belong together but can't be replaced in one motion. So both are
written whole under the name ``next`` first and then renamed, the state before the weights; who
finds the state ahead of the weights (the writer was killed in between) finishes the renaming.
``best`` is written after them: until then the best epoch is in ``last``, whose state says so.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from cifarlab.inference.weights import WeightsFile, load_weights
from cifarlab.optim.schedules import ScheduleState
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.schemas import Count
from cifarlab.system.errors import CheckpointError
from cifarlab.system.files import (
    disk_errors,
    parse_json,
    reason,
    rename,
    require_plain,
    sha256,
    write_bytes,
)
from cifarlab.system.processes import SINGLE_PROCESS, Processes
from cifarlab.training.state import Best, State, Totals

_TOTALS = ("loss", "correct", "bad_step")


class Counters(NamedTuple):
    """What the state says beside its tensors."""

    step: Count
    epoch: Count
    seen: Count
    best: Best | None
    monitored: Best | None
    schedule: ScheduleState
    optimizer: dict[str, bool | int | float]
    seconds: dict[str, float]
    weights_sha256: str
    averager: Mapping[str, bool | int | float] = {}


class Checkpoints:
    """The ``checkpoints`` folder of a run, which the first of its processes alone looks into."""

    def __init__(self, folder: RunFolder, processes: Processes = SINGLE_PROCESS) -> None:
        self._processes = processes
        self.last = folder.weights("last")
        self.best = folder.weights("best")
        self._state = folder.weights("last.state")
        self._next = folder.weights("next")
        self._next_state = folder.weights("next.state")

    def save_last(self, state: State, about: WeightsFile) -> None:
        """Replace ``last``; a kill at any moment leaves the old one or the new. StorageError."""
        self._processes.broadcast_from_rank0(lambda: self.write_last(state, about))

    def save_best(self, state: State, about: WeightsFile) -> None:
        """Replace ``best``, once ``last`` says that it is. Raises StorageError."""
        self._processes.broadcast_from_rank0(lambda: about.write(self.best, state.evaluated))

    def write_last(self, state: State, about: WeightsFile) -> None:
        """``save_last`` for the first process alone. Raises StorageError."""
        digest = about.write(self._next, state.evaluated)
        if state.best and not state.best.weights_sha256:
            state.best = replace(state.best, weights_sha256=digest)
        tensors = {f"optimizer.{name}": t for name, t in _flatten(state.optimizer).items()}
        tensors |= {f"totals.{name}": getattr(state.totals, name) for name in _TOTALS}
        averager = state.averager.state_dict() if state.averager else {}
        if state.averager:
            trained = state.classifier.state_dict()
            tensors |= {f"trained.{name}": t.contiguous() for name, t in trained.items()}
            tensors |= {
                f"averager.{name}": t.contiguous()
                for name, t in averager.items()
                if isinstance(t, Tensor)
            }
        counters = {
            "step": state.step,
            "epoch": state.epoch,
            "seen": state.totals.seen,
            "best": asdict(state.best) if state.best else None,
            "monitored": asdict(state.monitored) if state.monitored else None,
            "schedule": state.schedule,
            "optimizer": _numbers(state.optimizer),
            "seconds": state.seconds,
            "weights_sha256": digest,
            "averager": {k: v for k, v in averager.items() if not isinstance(v, Tensor)},
        }
        write_bytes(self._next_state, save(tensors, {"cifarlab": json.dumps(counters)}))
        with disk_errors(self.last):
            rename(self._next_state, self._state)
            rename(self._next, self.last)

    def load_last(self, state: State) -> None:
        """Put ``last`` into ``state``, in place. Raises CheckpointError."""
        tensors, counters, weights = self._processes.broadcast_from_rank0(self._read_last)
        state.step = counters.step  # which weights are evaluated depends on it
        load_weights(state.evaluated, weights, self.last)
        if state.averager:
            load_weights(state.classifier, _strip_prefix("trained.", tensors), self._state)
        try:
            _restore(state.optimizer, tensors, counters.optimizer)
            if state.averager:
                saved = _strip_prefix("averager.", tensors)
                state.averager.load_state_dict({**saved, **counters.averager})
            sums = {name: tensors[f"totals.{name}"].to(state.device) for name in _TOTALS}
            if any(total.shape != () for total in sums.values()):
                raise ValueError("a sum is no number")
        except (LookupError, ValueError, TypeError, RuntimeError) as error:
            raise self._damage_error(error) from error
        state.totals = Totals(**sums, seen=counters.seen)
        state.epoch = counters.epoch
        state.best, state.schedule = counters.best, counters.schedule
        state.monitored = counters.monitored
        state.seconds.update(counters.seconds)

    def exists(self) -> bool:
        """Whether there is something to resume from."""
        return self._state.exists() or self.last.exists()

    def files(self) -> tuple[Path, ...]:
        """What a continuation of the run needs; without validation there is no ``best``."""
        return self._state, self.last, self.best

    def _read_last(self) -> tuple[dict[str, Tensor], Counters, dict[str, Tensor]]:
        """The state's tensors and counters, and the weights that belong to them."""
        tensors, counters = self._read_state()
        expected = counters.weights_sha256
        if self._next.is_file() and sha256(self._next) == expected:
            with disk_errors(self.last):
                rename(self._next, self.last)
        about, weights = WeightsFile.read(self.last)
        if sha256(self.last) != expected:
            raise CheckpointError(
                f"{self.last}, of step {about.step}, was not saved with its state, "
                f"of step {counters.step}",
                "restore the files that were saved together, or train again",
            )
        best = counters.best
        if best and best.epoch == counters.epoch and not counters.seen:
            try:
                self.read_best(best)
            except CheckpointError:  # a kill came before it
                write_bytes(self.best, self.last.read_bytes())
        return tensors, counters, weights

    def read_best(self, best: Best) -> WeightsFile:
        """What ``best`` says. Raises CheckpointError where it is not what that epoch saved.

        A run's end may have added a confidence threshold to it.
        """
        about, tensors = WeightsFile.read(self.best)
        saved = replace(about, tta_threshold=None).content(tensors)
        if best.weights_sha256 not in (sha256(self.best), hashlib.sha256(saved).hexdigest()):
            raise CheckpointError(
                f"{self.best}, of epoch {about.epoch}, is not what the best epoch, {best.epoch}, "
                "saved",
                "restore the file that was saved with this run, or train anew in another folder",
            )
        return about

    def _read_state(self) -> tuple[dict[str, Tensor], Counters]:
        try:
            with safe_open(require_plain(self._state), "pt") as file:
                about = parse_json(file.metadata()["cifarlab"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if isinstance(about, dict) and "weights_sha256" not in about:
                raise CheckpointError(
                    f"the run of {self._state} was begun by an earlier cifarlab, "
                    "whose batches were cut otherwise",
                    "train anew in another folder",
                )
            return tensors, TypeAdapter(Counters).validate_python(about)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise self._damage_error(error) from error

    def _damage_error(self, error: Exception) -> CheckpointError:
        what = f"{self._state} can't be read: {reason(error)}"
        return CheckpointError(what, "restore it, or train again")


def _strip_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _flatten(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors by parameter number and name, as plain contiguous memory."""
    return {
        f"{number}.{name}": value.contiguous()
        for number, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
        if isinstance(value, Tensor)
    }


def _numbers(optimizer: Optimizer) -> dict[str, float]:
    """What a parameter's state and the groups hold beside tensors, as a user's optimizer may."""
    saved = optimizer.state_dict()
    sections = {"state": saved["state"], "groups": dict(enumerate(saved["param_groups"]))}
    return {
        f"{section}.{number}.{name}": value
        for section, parts in sections.items()
        for number, values in parts.items()
        for name, value in values.items()
        if isinstance(value, int | float)
    }


def _restore(
    optimizer: Optimizer, tensors: dict[str, Tensor], numbers: Mapping[str, float]
) -> None:
    """Undo ``_flatten`` and ``_numbers``, each tensor in the memory layout of its parameter.

    PyTorch's fused optimizers walk parameter and state in memory order, so a channels_last
    parameter must not meet a contiguous momentum.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Any | float]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            number, _, name = rest.partition(".")
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:
                value = torch.empty_like(parameter, requires_grad=False).copy_(value)
            slots.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    for key, entry in numbers.items():
        section, number, name = key.split(".", 2)
        part: dict[str, Any] = (
            groups[int(number)] if section == "groups" else slots.setdefault(int(number), {})
        )
        part[name] = entry
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
