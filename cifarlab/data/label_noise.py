"""Label noise: training labels that are wrong on purpose."""

from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field, SerializeAsAny, model_validator

from cifarlab.config.base import Fraction
from cifarlab.config.family import Family
from cifarlab.system.errors import RecipeError


class LabelNoiseConfig(Family):
    """Label noise; only the labels of training images are changed."""

    @abstractmethod
    def flip(self, labels: np.ndarray, classes: int, indices: np.ndarray) -> np.ndarray:
        """Return a split's labels with noise, int64 (N,); ``labels`` itself stays as it is.

        Args:
            labels: the whole split's, int64 (N,), 0..classes - 1
            classes: the number of classes
            indices: the images of the split that are trained on, int64 (n,)
        """


class CleanLabels(LabelNoiseConfig):
    """Labels as the source has them."""

    kind: Literal["none"] = "none"

    def flip(self, labels: np.ndarray, classes: int, indices: np.ndarray) -> np.ndarray:
        """Return the labels as they are.

        Args:
            labels: the whole split's, int64 (N,), 0..classes - 1
            classes: the number of classes
            indices: the images of the split that are trained on, int64 (n,)
        """
        return labels


class TransitionNoise(LabelNoiseConfig):
    """Label noise that draws each label from the probabilities of its true class.

    Which labels change follows from ``seed`` and an image's index in its source; neither the run's
    seed nor the size of the training part changes it.
    """

    kind: str
    seed: int = Field(0, ge=0, description="decides which labels change, and to what")

    @abstractmethod
    def probabilities(self, classes: int) -> np.ndarray:
        """Return float64 (K, K): the row is the true class, the column what its label becomes.

        Raises:
            RecipeError: the settings don't fit the number of classes
        """

    def flip(self, labels: np.ndarray, classes: int, indices: np.ndarray) -> np.ndarray:
        """Draw each label of the split from its class's row, by one uniform draw for each.

        Args:
            labels: the whole split's, int64 (N,), 0..classes - 1
            classes: the number of classes
            indices: the images of the split that are trained on, int64 (n,)
        """
        edges = self.probabilities(classes).cumsum(1)
        # the raw stream of a bit generator never changes between numpy versions
        draws = (np.random.PCG64(self.seed).random_raw(len(labels)) >> 11) * 2.0**-53
        return (draws[:, None] >= edges[labels, :-1]).sum(1).astype(labels.dtype)


class FlipNoise(TransitionNoise):
    """Label noise of one rate for all classes."""

    kind: str
    noise_rate: Fraction = Field(0.2, description="probability that a training label is wrong")


class SymmetricNoise(FlipNoise):
    """A label becomes any other class, each as likely (van Rooyen et al. 2015)."""

    kind: Literal["symmetric"] = "symmetric"

    def probabilities(self, classes: int) -> np.ndarray:
        """Return the noise rate, divided equally among the other classes."""
        off_diagonal = np.full((classes, classes), self.noise_rate / (classes - 1))
        return off_diagonal + np.eye(classes) * (1 - self.noise_rate - off_diagonal[0, 0])


class PairNoise(FlipNoise):
    """A label becomes the next class, the last one's the first (Han et al. 2018, figure 2)."""

    kind: Literal["pair"] = "pair"

    def probabilities(self, classes: int) -> np.ndarray:
        """Return the noise rate for the next class, else 0."""
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
        """Return the recipe's ``transition_matrix``.

        Raises:
            RecipeError: it has another number of rows than there are classes
        """
        if len(self.transition_matrix) != classes:
            raise RecipeError(
                f"data.label_noise.transition_matrix has {len(self.transition_matrix)} rows, "
                f"the data {classes} classes",
                f"give {classes} rows of {classes} probabilities",
            )
        return np.array(self.transition_matrix)


LabelNoise = SerializeAsAny[LabelNoiseConfig]
