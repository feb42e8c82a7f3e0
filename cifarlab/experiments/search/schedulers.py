"""Which trials a search stops before their end: a family, whose kinds build a scheduler of Ray's.

Trials are compared at rungs: after certain epochs. A scheduler hears of a trial at each rung once,
and what it decides must follow from the scores that it has heard by then: they are all that a
resumed search knows.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family
from cifarlab.experiments.search.messages import EPOCH, SCORE

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler


def _whole_epochs(duration: Duration) -> Duration:
    if duration.unit != "epochs" or duration.value != int(duration.value):
        raise ValueError(f"'{duration}': write whole epochs, after which trials are compared")
    return duration


Epochs = Annotated[Length, AfterValidator(_whole_epochs)]


class TrialSchedulerConfig(Family):
    """Base of all schedulers of a search; this one's methods stop nothing."""

    in_recipe = False

    def rungs(self, epochs: int, scale: float) -> list[int]:
        """Return the epochs at which trials of ``epochs`` may be stopped, ascending.

        ``scale`` is what the search's epochs were multiplied by.
        """
        return []

    @abstractmethod
    def build(self, epochs: int, scale: float) -> "TrialScheduler":
        """Return what decides at the rungs, by ``SCORE`` at ``EPOCH`` (see messages.py)."""

    def cutoff(self, earlier_scores: Sequence[float]) -> float | None:
        """Return the score needed to go on at a rung after these, for the record; None: none."""
        return None


class ASHA(TrialSchedulerConfig):
    """Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934).

    At each rung a trial goes on if its score is among the best 1 / ``reduction_factor`` of those
    that were there before it.
    """

    kind: Literal["asha"] = "asha"
    grace_period: Epochs = Field(Duration.parse("1 epoch"), description="the first rung")
    reduction_factor: int = Field(
        3, ge=2, description="rungs are this many times apart, and this share goes on: 1 in so many"
    )

    def rungs(self, epochs: int, scale: float) -> list[int]:
        """Return the first rung and its multiples by powers of ``reduction_factor``."""
        rungs = [self._first_rung(scale)]
        while rungs[-1] < epochs:
            rungs.append(rungs[-1] * self.reduction_factor)
        return rungs[:-1]

    def build(self, epochs: int, scale: float) -> "TrialScheduler":
        """Return Ray's ASHA."""
        from ray.tune.schedulers import ASHAScheduler

        return ASHAScheduler(
            time_attr=EPOCH,
            metric=SCORE,
            mode="max",
            max_t=epochs,
            grace_period=self._first_rung(scale),
            reduction_factor=self.reduction_factor,
            stop_last_trials=False,
        )

    def cutoff(self, earlier_scores: Sequence[float]) -> float | None:
        """Return a quantile of the earlier scores, as ASHA has it."""
        quantile = 1 - 1 / self.reduction_factor
        return float(np.nanpercentile(earlier_scores, 100 * quantile)) if earlier_scores else None

    def _first_rung(self, scale: float) -> int:
        return max(1, round(int(self.grace_period.value) * scale))


class NoStopping(TrialSchedulerConfig):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"

    def build(self, epochs: int, scale: float) -> "TrialScheduler":
        """Return Ray's scheduler that lets each go on."""
        from ray.tune.schedulers import FIFOScheduler

        return FIFOScheduler()
