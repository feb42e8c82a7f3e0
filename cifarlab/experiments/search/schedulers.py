"""The family of rules that stop trials of a search before their end.

Trials are compared at rungs: after certain epochs. A trial at a rung goes on unless its score is
below a cut-off, which must be a function of the scores of the trials that reached the rung before
it: a resumed search knows only these.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family


def _whole_epochs(duration: Duration) -> Duration:
    if duration.unit != "epochs" or duration.value != int(duration.value):
        raise ValueError(f"'{duration}': write whole epochs, after which trials are compared")
    return duration


Epochs = Annotated[Length, AfterValidator(_whole_epochs)]


class TrialSchedulerConfig(Family):
    """Base of all schedulers. A kind defines ``cutoff``, and ``rungs`` to compare less often."""

    in_recipe = False

    def rungs(self, epochs: int, scale: float) -> list[int]:
        """Return the epochs at which trials may be stopped, ascending; here: after each epoch.

        Args:
            epochs: epochs of a complete trial
            scale: the search's epochs were multiplied by it
        """
        return list(range(1, epochs))

    @abstractmethod
    def cutoff(self, earlier_scores: Sequence[float]) -> float | None:
        """Return the score that a trial needs to go on after these; None where it always goes on.

        The scores are ascending. A higher one is better: of a metric where less is better, scores
        are the negative values.
        """


class ASHA(TrialSchedulerConfig):
    """Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934), as in Ray Tune.

    At each rung a trial goes on if its score is among the best 1 / ``reduction_factor`` of those
    that reached the rung before it.
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
        """Return a quantile of the earlier scores, to the bit as NumPy and so Ray compute it."""
        if not earlier_scores:
            return None
        quantile, last = 100 * (1 - 1 / self.reduction_factor) / 100, len(earlier_scores) - 1
        lower, fraction = divmod(quantile * last, 1)
        a, b = earlier_scores[int(lower)], earlier_scores[min(int(lower) + 1, last)]
        return b - (b - a) * (1 - fraction) if fraction >= 0.5 else a + (b - a) * fraction


class NoStopping(TrialSchedulerConfig):
    """Stop no trial."""

    kind: Literal["none"] = "none"

    def rungs(self, epochs: int, scale: float) -> list[int]:
        """Return an empty list."""
        return []

    def cutoff(self, earlier_scores: Sequence[float]) -> None:
        """Return None."""
