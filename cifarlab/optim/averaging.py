"""The recipe's averaging of weights: one class for each kind.

A run too short for an average of two weights is refused when it starts.
"""

from typing import Literal

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import Fraction
from cifarlab.config.duration import Duration, Length
from cifarlab.config.family import Family


class AveragingConfig(Family):
    """What all averaging shares: nothing."""


class NoAveraging(AveragingConfig):
    """The weights as the optimizer leaves them."""

    kind: Literal["none"] = "none"

    def first_average(self, steps_per_epoch: int, planned: int) -> int:
        """Return the steps after which the result is first an average, in a run of ``planned``."""
        return 0


class EMA(AveragingConfig):
    """Evaluated is an exponential moving average of the weights; training does not see it.

    Every ``every`` steps slow = decay * slow + (1 - decay) * fast. Up to the first of these updates
    slow is a copy of the weights, so that the random initial ones are no part of the average.
    Running statistics of batch normalisation are averaged like weights.
    """

    kind: Literal["ema"] = "ema"
    decay: Fraction = Field(0.99, description="share of the average that is kept at each update")
    every: int = Field(1, ge=1, description="steps from one update to the next")

    def first_average(self, steps_per_epoch: int, planned: int) -> int:
        """Return as ``NoAveraging``."""
        return 2 * self.every


class Lookahead(AveragingConfig):
    """Slow weights that the fast ones are set back to (Zhang et al. 2019; airbench, section 3.4).

    Every ``every`` steps slow = d * slow + (1 - d) * fast and fast = slow, with
    d = decay**every * progress**3, progress being the share of the run that is done; slow starts
    as the initial weights. At the run's end fast = slow: the slow weights are the result, and
    steps after the last update count for nothing. An extension is a run's end once more, with
    progress counted from the run's start. Running statistics of batch normalisation are averaged
    like weights.
    """

    kind: Literal["lookahead"] = "lookahead"
    decay: Fraction = Field(0.95, description="share of the slow weights kept per step at the end")
    every: int = Field(5, ge=1, description="steps from one update to the next")

    def first_average(self, steps_per_epoch: int, planned: int) -> int:
        """Return as ``NoAveraging``."""
        return self.every


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
        """Return as ``NoAveraging``."""
        start, every = self.in_steps(steps_per_epoch, planned)
        return start + 2 * every

    def in_steps(self, steps_per_epoch: int, planned: int) -> tuple[int, int]:
        """Return ``start`` and ``every`` as optimizer steps."""
        start = self.start.in_steps(steps_per_epoch, planned)
        return start, max(1, self.every.in_steps(steps_per_epoch))


Averaging = SerializeAsAny[AveragingConfig]
