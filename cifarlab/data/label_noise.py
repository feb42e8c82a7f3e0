"""The recipe's label noise: one class for each kind."""

from typing import Literal

from pydantic import Field, SerializeAsAny, model_validator

from cifarlab.config.base import Fraction
from cifarlab.config.family import Family


class LabelNoiseConfig(Family):
    """What all label noise shares: only labels that are trained on are changed."""


class CleanLabels(LabelNoiseConfig):
    """Labels as the source has them."""

    kind: Literal["none"] = "none"


class Noise(LabelNoiseConfig):
    """What all noise shares. Only the labels that are trained on are changed.

    Which labels change follows from ``seed`` and an image's index in its source alone: neither the
    run's seed nor the size of the training part decides it.
    """

    kind: str
    seed: int = Field(0, ge=0, description="decides which labels change, and to what")


class Symmetric(Noise):
    """A label becomes any other class, all alike (van Rooyen et al. 2015)."""

    kind: Literal["symmetric"] = "symmetric"
    noise_rate: Fraction = Field(0.2, description="probability that a training label is wrong")


class PairFlip(Noise):
    """A label becomes the next class, the last one's the first (Han et al. 2018, figure 2)."""

    kind: Literal["pair"] = "pair"
    noise_rate: Fraction = Field(0.2, description="probability that a training label is wrong")


class Transition(Noise):
    """A label of class i becomes class j with a given probability."""

    kind: Literal["matrix"] = "matrix"
    transition_matrix: tuple[tuple[float, ...], ...] = Field(
        ((1.0, 0.0), (0.0, 1.0)),
        min_length=2,
        description="probabilities: a row for each true class, an entry for each one it becomes",
    )

    @model_validator(mode="after")
    def _rows_are_distributions(self) -> "Transition":
        for number, row in enumerate(self.transition_matrix):
            if len(row) != len(self.transition_matrix):
                raise ValueError(
                    f"row {number} has {len(row)} entries for {len(self.transition_matrix)} rows"
                )
            if min(row) < 0 or abs(sum(row) - 1) > 1e-6:
                raise ValueError(f"row {number} is no distribution: from 0 on, of sum 1")
        return self


LabelNoise = SerializeAsAny[LabelNoiseConfig]
