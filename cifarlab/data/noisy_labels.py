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
            if len(noise.rows) != classes:
                raise RecipeError(
                    f"data.noise.rows has {len(noise.rows)} rows, the data {classes} classes",
                    f"give {classes} rows of {classes} probabilities",
                )
            return np.array(noise.rows)
    if classes < 2:
        raise RecipeError(
            f"data.noise.kind={noise.kind} needs another class to flip to, the data has one",
            "set data.noise.kind=none",
        )
    match noise:
        case Symmetric():
            others = np.full((classes, classes), noise.share / (classes - 1))
            return others + np.eye(classes) * (1 - noise.share - others[0, 0])
        case PairFlip():
            return (1 - noise.share) * np.eye(classes) + noise.share * np.roll(
                np.eye(classes), 1, axis=1
            )


def noisy_labels(labels: np.ndarray, noise: LabelNoise, classes: int) -> np.ndarray:
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
