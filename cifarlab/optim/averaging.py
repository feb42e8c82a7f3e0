# ruff: noqa: D102  # what a kind answers is described in the base
"""Averages of the weights over training: moving averages, means and look-ahead, a class for each.

What is averaged: all floating-point parameters and buffers, so the running statistics of batch
normalisation too. Integer buffers are copied. A run too short for an average of two weights is
refused when it starts.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import Fraction
from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family
from cifarlab.config.findings import Finding, RunLength
from cifarlab.config.plugins import plugin_errors
from cifarlab.system.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

Network = TypeVar("Network", bound="nn.Module")
DecayAfter = Callable[[int, int], float | None]  # so many of so many steps


class Averager(ABC, Generic[Network]):
    """``slow`` is a copy of the network that holds the average and asks for no gradients.

    What an update does depends on the tensors in ``slow``, its step, and what ``state_dict`` says.
    ``first_step``: so many steps are complete before ``slow`` says more than the network itself.
    """

    first_step = 0

    def __init__(self, network: Network) -> None:
        self.slow: Network = copy.deepcopy(network).requires_grad_(False)

    @abstractmethod
    def update(self, network: Network, step: int, total: int) -> None:
        """To be called after the optimizer's update number ``step``, counted from 0.

        ``total`` is where the run's present segment ends: the number of all steps up to there.
        """

    def state_dict(self) -> "dict[str, Tensor | int | float]":
        """Return by name what a checkpoint must hold of it beside the tensors in ``slow``."""
        return {}

    def load_state_dict(self, state: "Mapping[str, Tensor | int | float]") -> None:
        """Go on from what ``state_dict`` returned; its tensors are on the CPU here."""


class _Blend(Averager[Network]):
    """slow = decay * slow + (1 - decay) * fast, by the decay after so many of ``total`` steps.

    No decay: nothing happens. With ``sets_back``, fast = slow then, and after the last step.
    """

    def __init__(self, network: Network, decay_after: DecayAfter, sets_back: bool = False) -> None:
        super().__init__(network)
        self._decay_after, self._sets_back = decay_after, sets_back

    def update(self, network: Network, step: int, total: int) -> None:
        import torch  # not above: a recipe is read without it

        decay = self._decay_after(step + 1, total)
        if decay is None and not (self._sets_back and step + 1 == total):
            return
        (slow, slow_integers), (fast, integers) = _tensors(self.slow), _tensors(network)
        if decay is not None:
            torch._foreach_lerp_(slow, fast, 1 - decay)
            if integers:
                torch._foreach_copy_(slow_integers, integers)
        if self._sets_back:
            torch._foreach_copy_(fast, slow)


def _tensors(network: "nn.Module") -> "tuple[list[Tensor], list[Tensor]]":
    """All parameters and buffers, not tracked by autograd: the floating-point ones, the others."""
    tensors = [t.detach() for t in chain(network.parameters(), network.buffers())]
    return (
        [t for t in tensors if t.is_floating_point()],
        [t for t in tensors if not t.is_floating_point()],
    )


class AveragingConfig(Family):
    """What all averaging shares. A kind says ``build``."""

    def first_average(self, steps_per_epoch: int, planned: int) -> int:
        """Return the steps after which the result is first an average, in a run of ``planned``."""
        return 0

    @abstractmethod
    def build(
        self, network: Network, steps_per_epoch: int, planned: int
    ) -> Averager[Network] | None:
        """Return the averager of ``network`` in a run of ``planned`` steps; None for none."""

    def lint(self, length: RunLength) -> Iterator[Finding]:
        """Yield what ``Family.lint`` does: no two weights to average."""
        first, total = self.first_average(*length[:2]), length.planned_steps
        keys = [f"averaging.{key}" for key in ("every", "start") if key in type(self).model_fields]
        sooner = f"lower {' or '.join(keys)}, " if keys else ""
        if total < first:
            yield Finding(
                f"averaging.kind={self.kind} would average nothing: it first does after "
                f"{first:,} steps, and training has {total:,}",
                "no two weights would be averaged: 'cifarlab train' refuses it",
                f"{sooner}lengthen training.duration, or leave averaging out",
            )


def build_averaging(
    config: AveragingConfig, network: Network, steps_per_epoch: int, planned: int
) -> Averager[Network] | None:
    """Return the recipe's averaging, of ``network`` as it is before its first step; None for none.

    ``planned`` is the run's planned length in steps, which fractions of the run are of. Raises
    RecipeError where no two weights would be averaged in it, and PluginError.
    """
    for finding in AveragingConfig.lint(config, RunLength(steps_per_epoch, planned, planned)):
        raise RecipeError(finding.what, finding.hint)
    with plugin_errors(config):
        return config.build(network, steps_per_epoch, planned)


class NoAveraging(AveragingConfig):
    """The weights as the optimizer leaves them."""

    kind: Literal["none"] = "none"

    def build(self, network: Network, steps_per_epoch: int, planned: int) -> None:
        return None


class EMA(AveragingConfig):
    """Evaluated is an exponential moving average of the weights; training does not see it.

    Every ``every`` steps slow = decay * slow + (1 - decay) * fast. Up to the first of these updates
    slow is a copy of the weights, so that the random initial ones are no part of the average.
    """

    kind: Literal["ema"] = "ema"
    decay: Fraction = Field(0.99, description="fraction of the average that is kept at each update")
    every: int = Field(1, ge=1, description="steps from one update to the next")

    def first_average(self, steps_per_epoch: int, planned: int) -> int:
        return 2 * self.every

    def build(self, network: Network, steps_per_epoch: int, planned: int) -> Averager[Network]:
        return _Blend(network, self._decay_after)

    def _decay_after(self, n_steps: int, total: int) -> float | None:
        if n_steps <= self.every:
            return 0.0
        return None if n_steps % self.every else self.decay

    def scaled(self, scale: float) -> dict[str, Any]:
        steps = self.every * scale**2
        every = max(1, round(steps))  # decay is per update
        return {"every": every, "decay": self.decay ** (every / steps)}


class Lookahead(AveragingConfig):
    """Slow weights that the fast ones are set back to (Zhang et al. 2019; airbench, section 3.4).

    Every ``every`` steps slow = d * slow + (1 - d) * fast and fast = slow, with
    d = decay**every * progress**3, progress being the fraction of the run that is done; slow starts
    as the initial weights. At the run's end fast = slow: the slow weights are the result, and
    steps after the last update count for nothing. An extension is a run's end once more, with
    progress counted from the run's start.
    """

    kind: Literal["lookahead"] = "lookahead"
    decay: Fraction = Field(0.95, description="fraction of slow weights kept per step at the end")
    every: int = Field(5, ge=1, description="steps from one update to the next")

    def first_average(self, steps_per_epoch: int, planned: int) -> int:
        return self.every

    def build(self, network: Network, steps_per_epoch: int, planned: int) -> Averager[Network]:
        averager = _Blend(network, self._decay_after, sets_back=True)
        averager.first_step = self.every  # before it, slow holds the initial weights
        return averager

    def _decay_after(self, n_steps: int, total: int) -> float | None:
        return None if n_steps % self.every else self.decay**self.every * (n_steps / total) ** 3

    def scaled(self, scale: float) -> dict[str, Any]:
        steps = scale**2  # decay is per step
        return {"every": max(1, round(self.every * steps)), "decay": self.decay ** (1 / steps)}


class SWA(AveragingConfig):
    """Evaluated is the plain mean of the weights at equal distances (Izmailov et al. 2018).

    The first to count are those ``every`` after ``start``; up to there the network itself is
    evaluated. Running statistics of batch normalisation are averaged like weights, where the paper
    computes them anew in a pass over the training images.
    """

    kind: Literal["swa"] = "swa"
    start: Duration = Field(
        Duration.parse("0.75 of the run"), description="when, counted from the run's start"
    )
    every: Length = Field(Duration.parse("1 epoch"), description="distance of what is averaged")

    def first_average(self, steps_per_epoch: int, planned: int) -> int:
        start, every = self.in_steps(steps_per_epoch, planned)
        return start + 2 * every

    def build(self, network: Network, steps_per_epoch: int, planned: int) -> Averager[Network]:
        start, every = self.in_steps(steps_per_epoch, planned)

        def decay_after(n_steps: int, _total: int) -> float | None:
            count, rest = divmod(n_steps - start, every)
            if count < 1:
                return 0.0
            return None if rest else (count - 1) / count

        return _Blend(network, decay_after)

    def in_steps(self, steps_per_epoch: int, planned: int) -> tuple[int, int]:
        """Return ``start`` and ``every`` as optimizer steps."""
        start = self.start.in_steps(steps_per_epoch, planned)
        return start, max(1, self.every.in_steps(steps_per_epoch))


Averaging = SerializeAsAny[AveragingConfig]
