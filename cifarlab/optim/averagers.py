"""Averages of the weights over training: moving averages, means and look-ahead.

What is averaged: all floating-point parameters and buffers, so the running statistics of batch
normalisation too. Integer buffers are copied.
"""

import copy
from abc import ABC, abstractmethod
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from cifarlab.optim.averaging import EMA, SWA, Averaging, Lookahead, NoAveraging
from cifarlab.system.errors import RecipeError

Network = TypeVar("Network", bound=nn.Module)


class Averager(ABC, Generic[Network]):
    """``slow`` is a copy of the network that holds the average and asks for no gradients.

    Beside the tensors in ``slow`` there is no state: what an update does depends on its step.
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


def build_averaging(
    config: Averaging, network: Network, steps_per_epoch: int, planned: int
) -> Averager[Network] | None:
    """The recipe's averaging, of ``network`` as it is before its first step; None for none.

    ``planned`` is the run's planned length in steps, which shares of the run are of. Raises
    RecipeError where no two weights would be averaged in it.
    """
    first_average = config.first_average(steps_per_epoch, planned)
    if planned < first_average:
        raise RecipeError(
            f"averaging.kind={config.kind} would average nothing: it first does after {first_average:,} "
            f"steps, and training has {planned:,}",
            f"lower averaging.every{' or averaging.start' if isinstance(config, SWA) else ''}, "
            "lengthen training.duration, or leave averaging out",
        )
    match config:
        case NoAveraging():
            return None
        case EMA():
            return _MovingAverage(config, network)
        case Lookahead():
            return _Lookahead(config, network)
        case SWA():
            return _Mean(network, *config.in_steps(steps_per_epoch, planned))


class _MovingAverage(Averager[Network]):
    """Average as averaging.EMA says."""

    def __init__(self, config: EMA, network: Network) -> None:
        super().__init__(network)
        self._decay, self._every = config.decay, config.every

    def update(self, network: Network, step: int, total: int) -> None:
        if step < self._every:
            _blend(self.slow, network, 0.0)
        elif (step + 1) % self._every == 0:
            _blend(self.slow, network, self._decay)


class _Lookahead(Averager[Network]):
    """Average as averaging.Lookahead says."""

    def __init__(self, config: Lookahead, network: Network) -> None:
        super().__init__(network)
        self._decay, self._every = config.decay**config.every, config.every
        self.first_step = config.every  # before it, slow holds the initial weights

    def update(self, network: Network, step: int, total: int) -> None:
        n_steps = step + 1
        due = n_steps % self._every == 0
        if due:
            _blend(self.slow, network, self._decay * (n_steps / total) ** 3)
        if due or n_steps == total:
            torch._foreach_copy_(_tensors(network)[0], _tensors(self.slow)[0])


class _Mean(Averager[Network]):
    """Average as averaging.SWA says."""

    def __init__(self, network: Network, start: int, every: int) -> None:
        super().__init__(network)
        self._start, self._every = start, every

    def update(self, network: Network, step: int, total: int) -> None:
        n_steps = step + 1 - self._start
        if n_steps < self._every:
            _blend(self.slow, network, 0.0)
        elif n_steps % self._every == 0:
            count = n_steps // self._every
            _blend(self.slow, network, (count - 1) / count)


def _blend(slow: nn.Module, fast: nn.Module, decay: float) -> None:
    """slow = decay * slow + (1 - decay) * fast, in place."""
    (slow_floats, slow_integers), (floats, integers) = _tensors(slow), _tensors(fast)
    torch._foreach_lerp_(slow_floats, floats, 1 - decay)
    if integers:
        torch._foreach_copy_(slow_integers, integers)


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """All parameters and buffers, not tracked by autograd: the floating-point ones, the others."""
    tensors = [t.detach() for t in chain(network.parameters(), network.buffers())]
    return (
        [t for t in tensors if t.is_floating_point()],
        [t for t in tensors if not t.is_floating_point()],
    )
