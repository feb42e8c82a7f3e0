# ruff: noqa: D102  # what a kind answers is described in the base
"""Averages of the weights over training: moving averages, means and look-ahead, a class for each.

All floating-point parameters and buffers are averaged, also the running statistics of batch
normalisation. Integer buffers are copied. A run too short for an average of two weights is
refused when it starts.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import Fraction
from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family
from cifarlab.config.findings import Finding, RunLength
from cifarlab.config.plugins import plugin_errors
from cifarlab.system.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

Net = TypeVar("Net", bound="nn.Module")
# a number of steps, and that of the whole run, to the decay; None: no update
DecayAfter = Callable[[int, int], float | None]


class Averager(ABC, Generic[Net]):
    """Keeps ``average``: a copy of the network with averaged weights, which need no gradients.

    An update depends only on the tensors in ``average``, its step, and ``state_dict``. Before
    ``first_step`` steps are complete, the network itself is evaluated.
    """

    first_step = 0

    def __init__(self, network: Net) -> None:
        self.average: Net = copy.deepcopy(network).requires_grad_(False)

    @abstractmethod
    def update(self, network: Net, step: int, total: int) -> None:
        """Update ``average`` after a step of the optimizer.

        Args:
            network: the network with the weights after that step
            step: its number, from 0
            total: number of all steps up to the end of the run's present segment
        """

    def state_dict(self) -> "dict[str, Tensor | int | float]":
        """Return what a checkpoint holds beside the tensors in ``average``, by name."""
        return {}

    def load_state_dict(self, state: "Mapping[str, Tensor | int | float]") -> None:
        """Restore what ``state_dict`` returned; its tensors are on the CPU here."""


class _LerpAverager(Averager[Net]):
    """An average that is decay * average + (1 - decay) * weights after each update.

    ``decay_after`` says the decay by the number of steps. With ``sets_back`` an update, and the
    last step, also sets the weights to the average.
    """

    def __init__(self, network: Net, decay_after: DecayAfter, sets_back: bool = False) -> None:
        super().__init__(network)
        self._decay_after, self._sets_back = decay_after, sets_back

    def update(self, network: Net, step: int, total: int) -> None:
        import torch  # not above: a recipe is read without it

        decay = self._decay_after(step + 1, total)
        if decay is None and not (self._sets_back and step + 1 == total):
            return
        averages, integer_averages = _tensors(self.average)
        weights, integers = _tensors(network)
        if decay is not None:
            torch._foreach_lerp_(averages, weights, 1 - decay)
            if integers:
                torch._foreach_copy_(integer_averages, integers)
        if self._sets_back:
            torch._foreach_copy_(weights, averages)


def _tensors(network: "nn.Module") -> "tuple[list[Tensor], list[Tensor]]":
    """Return parameters and buffers, detached: the floating-point ones, and the others."""
    tensors = [t.detach() for t in chain(network.parameters(), network.buffers())]
    return (
        [t for t in tensors if t.is_floating_point()],
        [t for t in tensors if not t.is_floating_point()],
    )


class AveragingConfig(Family):
    """What all averaging shares. A kind has the method ``build``."""

    first_average_advice: ClassVar[str] = ""  # for a run that is too short, e.g. "lower ..., "

    def first_average(self, steps_per_epoch: int, planned_steps: int) -> int:
        """Return the number of steps after which the result is first an average."""
        return 0

    @abstractmethod
    def build(self, network: Net, steps_per_epoch: int, planned_steps: int) -> Averager[Net] | None:
        """Return the averager; None: nothing is averaged.

        Args:
            network: the network before its first step
            steps_per_epoch: optimizer steps of an epoch
            planned_steps: the run's planned length
        """

    def lint(self, length: RunLength) -> Iterator[Finding]:
        """Yield a finding where the run is too short for an average of two weights."""
        first, total = self.first_average(*length[:2]), length.planned_steps
        if total < first:
            yield Finding(
                f"averaging.kind={self.kind} would average nothing: it first does after "
                f"{first:,} steps, and training has {total:,}",
                "no two weights would be averaged: 'cifarlab train' refuses it",
                f"{self.first_average_advice}lengthen training.duration, or leave averaging out",
            )


def build_averaging(
    config: AveragingConfig, network: Net, steps_per_epoch: int, planned_steps: int
) -> Averager[Net] | None:
    """Return the averager of a recipe; None: nothing is averaged.

    Args:
        config: the recipe's part
        network: the network before its first step
        steps_per_epoch: optimizer steps of an epoch
        planned_steps: the run's planned length, to which fractions of the run refer

    Raises:
        RecipeError: where the run is too short for an average of two weights
        PluginError: where a plug-in's ``build`` fails
    """
    length = RunLength(steps_per_epoch, planned_steps, planned_steps)
    for finding in AveragingConfig.lint(config, length):
        raise RecipeError(finding.what, finding.hint)
    with plugin_errors(config):
        return config.build(network, steps_per_epoch, planned_steps)


class NoAveraging(AveragingConfig):
    """The weights as the optimizer leaves them."""

    kind: Literal["none"] = "none"

    def build(self, network: Net, steps_per_epoch: int, planned_steps: int) -> None:
        return None


class EMA(AveragingConfig):
    """An exponential moving average of the weights is evaluated; training does not use it.

    Every ``every`` steps average = decay * average + (1 - decay) * weights. Up to the first update
    the average is a copy of the weights, so that the initial ones are no part of it.
    """

    first_average_advice: ClassVar[str] = "lower averaging.every, "
    kind: Literal["ema"] = "ema"
    decay: Fraction = Field(0.99, description="fraction of the average that is kept at each update")
    every: int = Field(1, ge=1, description="steps from one update to the next")

    def first_average(self, steps_per_epoch: int, planned_steps: int) -> int:
        return 2 * self.every

    def build(self, network: Net, steps_per_epoch: int, planned_steps: int) -> Averager[Net]:
        return _LerpAverager(network, self._decay_after)

    def _decay_after(self, n_steps: int, total: int) -> float | None:
        if n_steps <= self.every:
            return 0.0
        return None if n_steps % self.every else self.decay

    def scaled(self, scale: float) -> dict[str, Any]:
        steps = self.every * scale**2
        interval = max(1, round(steps))  # decay is per update
        return {"every": interval, "decay": self.decay ** (interval / steps)}


class Lookahead(AveragingConfig):
    """Slow weights that the fast ones are set back to (Zhang et al. 2019; airbench, section 3.4).

    Every ``every`` steps slow = d * slow + (1 - d) * fast and fast = slow, with
    d = decay**every * progress**3 after the fraction ``progress`` of the run; slow starts as the
    initial weights. At the run's end fast = slow: the slow weights are the result, and steps after
    the last update have no effect. The same holds at the end of an extension, whose progress is
    counted from the run's start.
    """

    first_average_advice: ClassVar[str] = "lower averaging.every, "
    kind: Literal["lookahead"] = "lookahead"
    decay: Fraction = Field(0.95, description="fraction of slow weights kept per step at the end")
    every: int = Field(5, ge=1, description="steps from one update to the next")

    def first_average(self, steps_per_epoch: int, planned_steps: int) -> int:
        return self.every

    def build(self, network: Net, steps_per_epoch: int, planned_steps: int) -> Averager[Net]:
        averager = _LerpAverager(network, self._decay_after, sets_back=True)
        averager.first_step = self.every  # until then the average is the initial weights
        return averager

    def _decay_after(self, n_steps: int, total: int) -> float | None:
        return None if n_steps % self.every else self.decay**self.every * (n_steps / total) ** 3

    def scaled(self, scale: float) -> dict[str, Any]:
        steps = scale**2  # decay is per step
        return {"every": max(1, round(self.every * steps)), "decay": self.decay ** (1 / steps)}


class SWA(AveragingConfig):
    """The mean of the weights at equal distances is evaluated (Izmailov et al. 2018).

    The first weights that count are those ``every`` after ``start``; until then the network itself
    is evaluated. Running statistics of batch normalisation are averaged like weights; the paper
    computes them anew in a pass over the training images.
    """

    first_average_advice: ClassVar[str] = "lower averaging.every or averaging.start, "
    kind: Literal["swa"] = "swa"
    start: Duration = Field(
        Duration.parse("0.75 of the run"), description="when, counted from the run's start"
    )
    every: Length = Field(Duration.parse("1 epoch"), description="distance of what is averaged")

    def first_average(self, steps_per_epoch: int, planned_steps: int) -> int:
        start, interval = self.in_steps(steps_per_epoch, planned_steps)
        return start + 2 * interval

    def build(self, network: Net, steps_per_epoch: int, planned_steps: int) -> Averager[Net]:
        start, interval = self.in_steps(steps_per_epoch, planned_steps)

        def decay_after(n_steps: int, _total: int) -> float | None:
            count, rest = divmod(n_steps - start, interval)
            if count < 1:
                return 0.0
            return None if rest else (count - 1) / count

        return _LerpAverager(network, decay_after)

    def in_steps(self, steps_per_epoch: int, planned_steps: int) -> tuple[int, int]:
        """Return ``start`` and ``every`` as optimizer steps."""
        start = self.start.in_steps(steps_per_epoch, planned_steps)
        return start, max(1, self.every.in_steps(steps_per_epoch))


Averaging = SerializeAsAny[AveragingConfig]
