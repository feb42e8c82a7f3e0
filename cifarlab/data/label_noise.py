"""Wrong training labels, on purpose: how much of a gain is memory, and who survives them."""

from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field, SerializeAsAny, model_validator

from cifarlab.config.base import Fraction
from cifarlab.config.family import Family
from cifarlab.system.errors import RecipeError


class LabelNoiseConfig(Family):
    """What all label noise shares: only labels that are trained on are changed."""

    @abstractmethod
    def flip(self, labels: np.ndarray, classes: int, indices: np.ndarray) -> np.ndarray:
        """Return new labels int64 (N,), 0..classes - 1, of a whole split's; change none in place.

        ``indices``, int64 (n,), are of the images in the split that are trained on.
        """


class CleanLabels(LabelNoiseConfig):
    """Labels as the source has them."""

    kind: Literal["none"] = "none"

    def flip(self, labels: np.ndarray, classes: int, indices: np.ndarray) -> np.ndarray:
        """Return the labels as they are."""
        return labels


class TransitionNoise(LabelNoiseConfig):
    """What noise shares that draws each label from probabilities that its class has.

    Which labels change follows from ``seed`` and an image's index in its source alone: neither the
    run's seed nor the size of the training part decides it.
    """

    kind: str
    seed: int = Field(0, ge=0, description="decides which labels change, and to what")

    @abstractmethod
    def probabilities(self, classes: int) -> np.ndarray:
        """Return float64 (K, K): row, the true class; column, what its label becomes.

        Raises RecipeError where there can be none for so many classes.
        """

    def flip(self, labels: np.ndarray, classes: int, indices: np.ndarray) -> np.ndarray:
        """Draw each label of the split anew from its class's row, by a uniform draw of its own."""
        edges = self.probabilities(classes).cumsum(1)
        # the raw stream of a bit generator never changes between numpy versions
        draws = (np.random.PCG64(self.seed).random_raw(len(labels)) >> 11) * 2.0**-53
        return (draws[:, None] >= edges[labels, :-1]).sum(1).astype(labels.dtype)


class FlipNoise(TransitionNoise):
    """What noise shares that has one rate for all classes."""

    kind: str
    noise_rate: Fraction = Field(0.2, description="probability that a training label is wrong")


class SymmetricNoise(FlipNoise):
    """A label becomes any other class, all alike (van Rooyen et al. 2015)."""

    kind: Literal["symmetric"] = "symmetric"

    def probabilities(self, classes: int) -> np.ndarray:
        """Return the rate, divided among the other classes."""
        off_diagonal = np.full((classes, classes), self.noise_rate / (classes - 1))
        return off_diagonal + np.eye(classes) * (1 - self.noise_rate - off_diagonal[0, 0])


class PairNoise(FlipNoise):
    """A label becomes the next class, the last one's the first (Han et al. 2018, figure 2)."""

    kind: Literal["pair"] = "pair"

    def probabilities(self, classes: int) -> np.ndarray:
        """Return the rate for the next class."""
        next_class = np.roll(np.eye(classes), 1, axis=1)
        return (1 - self.noise_rate) * np.eye(classes) + self.noise_rate * next_class


class MatrixNoise(TransitionNoise):
    """A label of class i becomes class j with a given probability."""

    kind: Literal["matrix"] = "matrix"
    transition_matrix: tuple[tuple[float, ...], ...] = Field(
        ((1.0, 0.0), (0.0, 1.0)),
        min_length=2,
        description="probabilities: a row for each true class, an entry for each one it becomes",
    )

    @model_validator(mode="after")
    def _rows_are_distributions(self) -> "MatrixNoise":
        for number, row in enumerate(self.transition_matrix):
            if len(row) != len(self.transition_matrix):
                raise ValueError(
                    f"row {number} has {len(row)} entries for {len(self.transition_matrix)} rows"
                )
            if min(row) < 0 or abs(sum(row) - 1) > 1e-6:
                raise ValueError(f"row {number} is no distribution: from 0 on, of sum 1")
        return self

    def probabilities(self, classes: int) -> np.ndarray:
        """Return the recipe's ``transition_matrix``."""
        if len(self.transition_matrix) != classes:
            raise RecipeError(
                f"data.label_noise.transition_matrix has {len(self.transition_matrix)} rows, "
                f"the data {classes} classes",
                f"give {classes} rows of {classes} probabilities",
            )
        return np.array(self.transition_matrix)


LabelNoise = SerializeAsAny[LabelNoiseConfig]
