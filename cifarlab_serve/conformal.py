"""The score of conformal sets: of RAPS (Angelopoulos et al. 2021).

It is the probability of all classes that are likelier than this one, and a penalty for each rank
beyond the second. Where RAPS adds a random part of the class's own probability, none is added here:
equal images get equal sets, and the likeliest class, whose score is 0, is in each.
"""

import numpy as np

PENALTY, FREE_RANKS = 0.05, 2  # fixed: tuning them would take validation images away


def raps_scores(
    probabilities: np.ndarray, penalty: float = PENALTY, free_ranks: int = FREE_RANKS
) -> np.ndarray:
    """Return the score of each class, float64 (N, K); of equal probabilities the first is likelier.

    Args:
        probabilities: (N, K)
        penalty: for each rank beyond ``free_ranks``
        free_ranks: how many ranks have no penalty
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    descending = np.take_along_axis(probabilities.astype(np.float64), order, axis=1)
    before = np.pad(np.cumsum(descending, axis=1)[:, :-1], ((0, 0), (1, 0)))
    ranks = np.arange(1, probabilities.shape[1] + 1)
    scores = np.empty_like(before)
    penalized = before + penalty * np.maximum(ranks - free_ranks, 0)
    np.put_along_axis(scores, order, penalized, axis=1)
    return scores
