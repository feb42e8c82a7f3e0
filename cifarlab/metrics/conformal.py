"""Sets of classes that hold the true one for at least the asked fraction of images.

Split conformal prediction (Vovk et al. 2005) with the score of RAPS, see
``cifarlab_serve.conformal``. A set has the classes whose score is at most the threshold, a quantile
of the true classes' scores on validation images.

Pure functions of NumPy arrays: probabilities (N, K), labels int (N,).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from cifarlab.system.errors import DataError, UserError
from cifarlab_serve.conformal import FREE_RANKS, PENALTY, raps_scores


class Conformal(NamedTuple):
    """``threshold`` of scores for a ``coverage``, found on ``n_calibration`` validation images."""

    coverage: float
    threshold: float
    n_calibration: int

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return which classes are in each image's set, bool (N, K)."""
        return raps_scores(probabilities) <= self.threshold

    @property
    def note(self) -> str | None:
        """Return why each set has one class alone, and what to do; None where they may have more.

        The likeliest class has the score 0, all others have a higher one.
        """
        if self.threshold > 0:
            return None
        return (
            f"note: the likeliest class is right on {100 * self.coverage:g} % of the validation "
            "images or more, so each set has it alone and none is rejected: ask for a larger "
            "coverage"
        )


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
    scores, n = _sorted_scores(probabilities, labels), len(labels)
    rank = _rank(n, coverage)
    if rank > n:
        minimum = math.ceil(coverage / (1 - coverage) - 1e-9)
        what = f"{n:,} validation images can't show a coverage of {coverage:g}"
        raise DataError(what, f"it takes {minimum:,}: raise data.val_fraction, or ask for less")
    return Conformal(coverage, float(scores[rank - 1]), n)


def calibrate_percents(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return what an exported file says of sets, in place of the images that calibrate them.

    ``thresholds`` are those of ``calibrate`` for coverages of 0.01, 0.02, ..., as far as so many
    images can show them.
    """
    scores, n = _sorted_scores(probabilities, labels), len(labels)
    ranks = [_rank(n, percent / 100) for percent in range(1, 100)]
    thresholds = [float(scores[rank - 1]) for rank in ranks if rank <= n]
    return {"n": n, "penalty": PENALTY, "free_ranks": FREE_RANKS, "thresholds": thresholds}


def _sorted_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.sort(raps_scores(probabilities)[np.arange(len(labels)), labels])


def _rank(n: int, coverage: float) -> int:
    return math.ceil((n + 1) * coverage - 1e-9)  # (9 + 1) * 0.9 is 9, whatever a float makes of it
