"""Sets of classes that hold the true one for at least the asked fraction of images.

Split conformal prediction (Vovk et al. 2005) with the score of RAPS (Angelopoulos et al. 2021): the
probability of all classes that are likelier than this one, and a penalty for each rank beyond the
second. A set has the classes whose score is at most the threshold, a quantile of the true classes'
scores on validation images. Where RAPS adds a random part of the class's own probability, none is
added here: equal images get equal sets, and the likeliest class, whose score is 0, is in each.

Pure functions of NumPy arrays: probabilities (N, K), labels int (N,).
"""

import math
from typing import NamedTuple

import numpy as np

from cifarlab.system.errors import DataError, UserError

PENALTY, FREE_RANKS = 0.05, 2  # fixed: tuning them would take validation images away


class Conformal(NamedTuple):
    """``threshold`` of the scores for a ``coverage``, found on ``n`` validation images."""

    coverage: float
    threshold: float
    n: int

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return which classes are in each image's set, bool (N, K)."""
        return raps_scores(probabilities) <= self.threshold


def raps_scores(probabilities: np.ndarray) -> np.ndarray:
    """Return the score of each class, float64 (N, K); of equal probabilities the first is likelier.

    ``probabilities`` are (N, K).
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    descending = np.take_along_axis(probabilities.astype(np.float64), order, axis=1)
    before = np.pad(np.cumsum(descending, axis=1)[:, :-1], ((0, 0), (1, 0)))
    ranks = np.arange(1, probabilities.shape[1] + 1)
    scores = np.empty_like(before)
    penalized = before + PENALTY * np.maximum(ranks - FREE_RANKS, 0)
    np.put_along_axis(scores, order, penalized, axis=1)
    return scores


def calibrate(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> Conformal:
    """Find the threshold on validation images.

    The set of another image like these holds its true class with at least that probability, over
    the draw of these and of that one.

    Args:
        probabilities: (N, K)
        labels: the images' classes (N,)
        coverage: between 0 and 1

    Raises:
        UserError: the coverage is not between 0 and 1
        DataError: there are too few images for it
    """
    if not 0 < coverage < 1:
        raise UserError(f"--coverage {coverage:g} is no fraction", "take one like 0.9")
    n = len(labels)
    rank = math.ceil((n + 1) * coverage - 1e-9)  # (9 + 1) * 0.9 is 9, whatever a float makes of it
    if rank > n:
        minimum = math.ceil(coverage / (1 - coverage) - 1e-9)
        what = f"{n:,} validation images can't show a coverage of {coverage:g}"
        raise DataError(what, f"it takes {minimum:,}: raise data.val_fraction, or ask for less")
    scores = raps_scores(probabilities)[np.arange(n), labels]
    return Conformal(coverage, float(np.partition(scores, rank - 1)[rank - 1]), n)
