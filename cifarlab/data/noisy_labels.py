"""Wrong training labels, on purpose: how much of a gain is memory, and who survives them."""

import numpy as np

from cifarlab.data.label_noise import CleanLabels, LabelNoise, PairFlip, Symmetric, Transition
from cifarlab.system.errors import RecipeError


def transition_matrix(noise: LabelNoise, classes: int) -> np.ndarray:
    """Probabilities float64 (K, K): row, the true class; column, what its label becomes.

    Raises RecipeError for a given matrix of another size, or for noise among a single class.
    """
    match noise:
        case CleanLabels():
            return np.eye(classes)
        case Transition():
            if len(noise.transition_matrix) != classes:
                raise RecipeError(
                    f"data.label_noise.transition_matrix has {len(noise.transition_matrix)} rows, "
                    f"the data {classes} classes",
                    f"give {classes} rows of {classes} probabilities",
                )
            return np.array(noise.transition_matrix)
    if classes < 2:
        raise RecipeError(
            f"data.label_noise.kind={noise.kind} needs another class to flip to, the data has one",
            "set data.label_noise.kind=none",
        )
    match noise:
        case Symmetric():
            others = np.full((classes, classes), noise.noise_rate / (classes - 1))
            return others + np.eye(classes) * (1 - noise.noise_rate - others[0, 0])
        case PairFlip():
            return (1 - noise.noise_rate) * np.eye(classes) + noise.noise_rate * np.roll(
                np.eye(classes), 1, axis=1
            )


def apply_label_noise(labels: np.ndarray, noise: LabelNoise, classes: int) -> np.ndarray:
    """Labels (N,) of a whole split, each drawn anew from its class's row; the same object if clean.

    Each place in the split has one uniform draw of its own, from ``noise.seed``. Raises RecipeError
    as ``transition_matrix`` does.
    """
    if isinstance(noise, CleanLabels):
        return labels
    edges = transition_matrix(noise, classes).cumsum(1)
    # the raw stream of a bit generator never changes between numpy versions
    draws = (np.random.PCG64(noise.seed).random_raw(len(labels)) >> 11) * 2.0**-53
    drawn = (draws[:, None] >= edges[labels, :-1]).sum(1)
    return drawn.astype(labels.dtype)
