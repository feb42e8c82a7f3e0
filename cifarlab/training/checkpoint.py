"""Checkpoints: ``last`` to go on from, ``best`` by validation.

    last.safetensors         weights, with all that prediction needs (inference.WeightsFile)
    last.state.safetensors   optimizer, running sums and counters; where weights are averaged,
                             also those that training goes on with, and the averager's state
    best.safetensors         weights of the best epoch so far
    best.state.safetensors   its state, so that training can go on from there

The two files of ``last`` belong together, but no system call replaces two files. So both are first
written under the name ``next`` and then renamed, the state before the weights. Where the writer was
killed between the two, the state is newer than the weights, and the next reader renames the other.
``best`` becomes a second name of both files after them: until then the best epoch is in ``last``,
whose state says so.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from pydantic import TypeAdapter
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from cifarlab.inference.weights import WeightsFile, load_weights
from cifarlab.optim.schedules import ScheduleState
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.schemas import Count
from cifarlab.system import files
from cifarlab.system.errors import CheckpointError, RecipeError
from cifarlab.system.processes import Processes
from cifarlab.training.state import BestEpoch, State, Totals

Tensors = dict[str, Tensor]
_TOTALS = ("loss", "correct", "bad_step")
_COUNTERS = ("step", "epoch", "best", "monitored", "schedule")
_Number: TypeAlias = bool | int | float


@dataclass
class Counters:
    """The values of the state file that are no tensors."""

    step: Count
    epoch: Count
    n_images: Count
    best: BestEpoch | None
    monitored: BestEpoch | None
    schedule: ScheduleState
    optimizer: dict[str, _Number | None]
    seconds: dict[str, float]
    weights_sha256: str
    averager: dict[str, _Number] = field(default_factory=dict)


class Checkpoints:
    """The ``checkpoints`` folder of a run. Only the main process reads and writes it."""

    def __init__(self, folder: RunFolder) -> None:
        self.last = folder.weights("last")
        self.best = folder.weights("best")
        self._state = folder.weights("last.state")
        self._best_state = folder.weights("best.state")
        self._next = folder.weights("next")
        self._next_state = folder.weights("next.state")

    def save_last(self, state: State, weights_file: WeightsFile) -> None:
        """Replace ``last``; a kill at any moment leaves the old one or the new.

        Raises:
            RecipeError: a part keeps what can't be stored; nothing is written
            StorageError: the disk refused
        """
        values, schedule = _flatten_optimizer(state.optimizer), state.schedule
        averager = state.averager.state_dict() if state.averager else {}
        _refuse("the averager", averager, _Number | Tensor)
        _refuse("the schedule", {"factor": schedule.factor, **schedule.memory}, int | float)
        digest = weights_file.write(self._next, state.eval_classifier)
        if state.best and not state.best.weights_sha256:
            state.best = replace(state.best, weights_sha256=digest)
        parts = {f"optimizer.{key.removeprefix('state.')}": v for key, v in values.items()}
        parts |= {f"totals.{name}": getattr(state.totals, name) for name in _TOTALS}
        parts |= {f"averager.{name}": value for name, value in averager.items()}
        if state.averager:
            parts |= {f"trained.{k}": t for k, t in state.classifier.state_dict().items()}
        tensors = {k: t.contiguous() for k, t in parts.items() if isinstance(t, Tensor)}
        counters = Counters(
            **{name: getattr(state, name) for name in _COUNTERS},
            n_images=state.totals.n_images,
            seconds=state.seconds,
            optimizer={k: v for k, v in values.items() if not isinstance(v, Tensor)},
            weights_sha256=digest,
            averager={k: v for k, v in averager.items() if not isinstance(v, Tensor)},
        )
        metadata = {"cifarlab": json.dumps(asdict(counters))}
        files.write_bytes(self._next_state, save(tensors, metadata))
        with files.disk_errors(self.last):
            files.rename(self._next_state, self._state)
            files.rename(self._next, self.last)

    def save_best(self) -> None:
        """Replace ``best`` by ``last``, which has the best epoch; nothing is written a second time.

        Raises:
            StorageError: the disk refused
        """
        files.link(self.last, self.best)
        files.link(self._state, self._best_state)

    def load_last(self, state: State, processes: Processes) -> None:
        """Load ``last`` into ``state``, in place, in each process.

        Raises:
            CheckpointError: it is missing, damaged or of another model
        """
        tensors, counters, weights = processes.broadcast_from_rank0(self._read_last)
        self._load(state, tensors, counters, weights)
        for name in _COUNTERS:
            setattr(state, name, getattr(counters, name))
        state.seconds.update(counters.seconds)

    def load_best(self, state: State, processes: Processes, *, rewind: bool = False) -> None:
        """Load the weights and the optimizer's state of ``best``, in place, in each process.

        Args:
            state: the run's, which knows the best epoch
            processes: the run's
            rewind: whether the run goes on as it was after that epoch, its counters too

        Raises:
            CheckpointError: there is no best epoch yet, or its files are missing or damaged
        """
        best, step = state.best, state.step
        tensors, counters, weights = processes.broadcast_from_rank0(partial(self._read_best, best))
        self._load(state, tensors, counters, weights)
        state.step = step
        for name in _COUNTERS if rewind else ():
            setattr(state, name, getattr(counters, name))

    def _load(self, state: State, tensors: Tensors, counters: Counters, weights: Tensors) -> None:
        state.step = counters.step  # which weights are evaluated depends on it
        load_weights(state.eval_classifier, weights, self.last)
        if state.averager:
            load_weights(state.classifier, _select_section("trained", tensors), self._state)
        with self._damage_errors():
            slots = {f"state.{k}": t for k, t in _select_section("optimizer", tensors).items()}
            _restore_optimizer(state.optimizer, slots | counters.optimizer)
            if state.averager:
                averages = _select_section("averager", tensors)
                state.averager.load_state_dict({**averages, **counters.averager})
            zero = Totals.zero(state.device)
            sums = {
                n: tensors[f"totals.{n}"].reshape(()).to(getattr(zero, n).dtype).to(state.device)
                for n in _TOTALS
            }
        state.totals = Totals(**sums, n_images=counters.n_images)

    def exists(self) -> bool:
        """Return whether there is something to resume from."""
        return self._state.exists() or self.last.exists()

    def files(self) -> tuple[Path, ...]:
        """Return the files that a continuation needs; without validation ``best`` is missing."""
        return self._state, self.last, self.best, self._best_state

    def _read_best(self, best: BestEpoch | None) -> tuple[Tensors, Counters, Tensors]:
        """Return the tensors, counters and weights of the best epoch, like ``_read_last``."""
        if best is None:
            raise CheckpointError("there is no best epoch yet", "go on from the last one")
        self.read_best(best)
        with self._damage_errors(self._best_state):
            tensors, metadata = files.read_arrays(self._best_state, "pt")
            counters = TypeAdapter(Counters).validate_python(metadata)
        if counters.weights_sha256 != best.weights_sha256:
            raise CheckpointError(
                f"{self._best_state} is not of epoch {best.epoch}, the best one",
                "restore the files that were saved together, or go on from the last epoch",
            )
        return tensors, counters, WeightsFile.read(self.best)[1]

    def _read_last(self) -> tuple[Tensors, Counters, Tensors]:
        """Return the state's tensors and counters, and the weights that belong to them."""
        with self._damage_errors():
            tensors, metadata = files.read_arrays(self._state, "pt")
            counters = TypeAdapter(Counters).validate_python(metadata)
        expected, best = counters.weights_sha256, counters.best
        if self._next.is_file() and files.sha256(self._next) == expected:
            with files.disk_errors(self.last):
                files.rename(self._next, self.last)
        weights_file, weights = WeightsFile.read(self.last)
        if files.sha256(self.last) != expected:
            raise CheckpointError(
                f"{self.last}, of step {weights_file.step}, was not saved with its state, "
                f"of step {counters.step}",
                "restore the files that were saved together, or train again",
            )
        if best and best.epoch == counters.epoch and not counters.n_images:
            try:
                self.read_best(best)
            except CheckpointError:  # the writer was killed before it
                files.write_bytes(self.best, self.last.read_bytes())
            files.write_bytes(self._best_state, self._state.read_bytes())
        return tensors, counters, weights

    def read_best(self, best: BestEpoch) -> WeightsFile:
        """Return the metadata of the weights file ``best``.

        At the end of a run a confidence threshold may have been added to it.

        Raises:
            CheckpointError: it is not the file that the best epoch saved
        """
        weights_file, tensors = WeightsFile.read(self.best)
        file = replace(weights_file, tta_threshold=None).content(tensors)
        if best.weights_sha256 not in (files.sha256(self.best), hashlib.sha256(file).hexdigest()):
            raise CheckpointError(
                f"{self.best}, of epoch {weights_file.epoch}, is not what the best epoch, "
                f"{best.epoch}, saved",
                "restore the file that was saved with this run, or train anew in another folder",
            )
        return weights_file

    def _damage_errors(self, path: Path | None = None) -> AbstractContextManager[None]:
        what = f"{path or self._state} can't be read"
        return files.damage_errors(what, "restore it, or train again", CheckpointError)


def _select_section(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _flatten_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return the optimizer's state and groups, as ``state.<parameter's number>.<name>``.

    Of the groups without what the recipe decides, which is there before a checkpoint is loaded.

    Raises:
        RecipeError: it keeps what can't be stored
    """
    tree, defaults = optimizer.state_dict(), optimizer.defaults
    numbers = range(sum(len(group["params"]) for group in tree["param_groups"]))
    strays = {f"state[{key!r}]": v for key, v in tree["state"].items() if key not in numbers}
    _refuse("the optimizer", strays, ())
    slots = {f"state.{n}.{k}": v for n, part in tree["state"].items() for k, v in part.items()}
    groups = {
        f"groups.{number}.{name}": value
        for number, group in enumerate(tree["param_groups"])
        for name, value in group.items()
        if name not in ("params", "until", "precision")
        and not (isinstance(value, tuple | str | torch.dtype) and value == defaults.get(name))
    }
    _refuse("the optimizer", slots, _Number | Tensor | None)
    _refuse("the optimizer", groups, _Number | None)
    return slots | groups


def _refuse(owner: str, values: Mapping[str, Any], types: Any) -> None:
    """Raise RecipeError for the first value that is none of ``types``: resuming would lose it."""
    for name, value in values.items():
        if not isinstance(value, types):
            what = (
                f"{owner} keeps {name}, of type {type(value).__name__}, which no checkpoint holds"
            )
            raise RecipeError(what, "docs/extend.md says what a part may keep for a resumed run")


def _restore_optimizer(optimizer: Optimizer, values: dict[str, Any]) -> None:
    """Load what ``_flatten_optimizer`` returned, each tensor in its parameter's memory layout.

    PyTorch's fused optimizers walk parameter and state in memory order, so a channels_last
    parameter must not meet a contiguous momentum.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    groups = optimizer.state_dict()["param_groups"]
    state: dict[int, dict[str, Any]] = {}
    for key, value in values.items():
        section, digits, name = key.split(".", 2)
        number = int(digits)
        if isinstance(value, Tensor) and value.shape == parameters[number].shape:
            layout = torch.empty_like(parameters[number], dtype=value.dtype, requires_grad=False)
            value = layout.copy_(value)
        part = groups[number] if section == "groups" else state.setdefault(number, {})
        part[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for number, slots in state.items():  # PyTorch has cast all but "step" to the parameter's type
        for name, value in slots.items():
            if isinstance(value, Tensor) and name != "step":
                optimizer.state[parameters[number]][name] = value.to(parameters[number].device)
