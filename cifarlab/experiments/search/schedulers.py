"""Which trials a search stops before their end: a family of rules.

Trials are compared at rungs: after certain epochs. A trial that comes to a rung goes on unless its
score is below a cut-off, which must follow from the scores of those that were there before it: they
are all that a resumed search knows.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family


def _whole_epochs(duration: Duration) -> Duration:
    if duration.unit != "epochs" or duration.value != int(duration.value):
        raise ValueError(f"'{duration}': write whole epochs, after which trials are compared")
    return duration


Epochs = Annotated[Length, AfterValidator(_whole_epochs)]


class TrialSchedulerConfig(Family):
    """What all schedulers of a search share. A kind says ``cutoff``, and ``rungs`` for fewer."""

    in_recipe = False

    def rungs(self, epochs: int, scale: float) -> list[int]:
        """Return the epochs at which trials of ``epochs`` may be stopped, ascending.

        ``scale`` is what the search's epochs were multiplied by. Here: after each epoch.
        """
        return list(range(1, epochs))

    @abstractmethod
    def cutoff(self, earlier_scores: Sequence[float]) -> float | None:
        """Return the score needed to go on at a rung after these; None: whatever it is.

        More is better: of a metric of which less is better they are the negative values.
        """


class ASHA(TrialSchedulerConfig):
    """Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934), as Ray Tune has it.

    At each rung a trial goes on if its score is among the best 1 / ``reduction_factor`` of those
    that were there before it.
    """

    kind: Literal["asha"] = "asha"
    grace_period: Epochs = Field(Duration.parse("1 epoch"), description="the first rung")
    reduction_factor: int = Field(
        3,
        ge=2,
        description="rungs are this many times apart, and this fraction goes on: 1 in so many",
    )

    def rungs(self, epochs: int, scale: float) -> list[int]:
        """Return the first rung and its multiples by powers of ``reduction_factor``."""
        rungs = [max(1, round(int(self.grace_period.value) * scale))]
        while rungs[-1] < epochs:
            rungs.append(rungs[-1] * self.reduction_factor)
        return rungs[:-1]

    def cutoff(self, earlier_scores: Sequence[float]) -> float | None:
        """Return a quantile of the earlier scores."""
        quantile = 1 - 1 / self.reduction_factor
        return float(np.nanpercentile(earlier_scores, 100 * quantile)) if earlier_scores else None


class NoStopping(TrialSchedulerConfig):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"

    def rungs(self, epochs: int, scale: float) -> list[int]:
        """Return none."""
        return []

    def cutoff(self, earlier_scores: Sequence[float]) -> None:
        """Return None."""
