"""Labels that are probably wrong, by what networks say that never saw them.

Confident learning (Northcutt, Jiang & Chuang 2021, arXiv:1911.00068), as cleanlab computes it.
"""

from typing import Any, NamedTuple

import numpy as np

from cifarlab.system.extras import require_packages

METHOD = "normalized_margin"


class Ranking(NamedTuple):
    """``order`` int64 (N,), most suspicious first; ``quality`` (N,), 0..1, low where suspicious.

    ``estimated`` is how many labels are wrong by confident learning.
    """

    order: np.ndarray
    quality: np.ndarray
    estimated: int


def require_cleanlab() -> None:
    """Raise MissingExtraError where cleanlab is not installed."""
    require_packages("an audit of labels", "audit", "cleanlab")


def rank_labels(labels: np.ndarray, probs: np.ndarray) -> Ranking:
    """Rank labels (N,) by out-of-fold probabilities (N, K). Raises MissingExtraError.

    The quality is the margin of the given class over the likeliest other one.
    """
    require_cleanlab()
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(labels, probs, method=METHOD)
    issues = find_label_issues(labels, probs, filter_by="prune_by_noise_rate", n_jobs=1)
    return Ranking(np.argsort(quality, kind="stable"), quality, int(issues.sum()))


def evaluate_ranking(order: np.ndarray, wrong: np.ndarray) -> dict[str, Any] | None:
    """Measure how well a ranking finds labels known to be wrong, bool (N,); None without any.

    ``wrong`` (their number), at that many suspects ``true_positives`` and ``precision`` (which
    is the recall then too), ``chance`` (the precision of any order), and by the ranking's depth
    ``curve``: at 1/4, 1/2, 1, 2 and 4 times that number ``suspects``, ``precision``, ``recall``.
    """
    known = int(wrong.sum())
    if not known:
        return None
    n_wrong = np.cumsum(wrong[order])
    depths = [min(len(order), max(1, round(known * fraction))) for fraction in (0.25, 0.5, 1, 2, 4)]
    curve = [
        {"suspects": depth, "precision": float(n / depth), "recall": float(n / known)}
        for depth, n in zip(depths, n_wrong[np.array(depths) - 1], strict=True)
    ]
    at_known = {"wrong": known, "true_positives": int(n_wrong[known - 1])}
    fractions = dict.fromkeys(("precision", "recall"), at_known["true_positives"] / known)
    return {**at_known, **fractions, "chance": known / len(order), "curve": curve}
