"""Labels that are probably wrong, judged by networks that were not trained on these images.

Confident learning (Northcutt, Jiang & Chuang 2021, arXiv:1911.00068), as cleanlab computes it.
"""

from typing import Any, NamedTuple

import numpy as np

from cifarlab.system.extras import require_packages

METHOD = "normalized_margin"


class Ranking(NamedTuple):
    """``order`` int64 (N,), most suspicious first; ``quality`` (N,), 0..1, low where suspicious.

    ``n_label_issues`` is how many labels are wrong, as confident learning estimates it.
    """

    order: np.ndarray
    quality: np.ndarray
    n_label_issues: int


def require_cleanlab() -> None:
    """Raise MissingExtraError where cleanlab is not installed."""
    require_packages("an audit of labels", "audit", "cleanlab")


def rank_labels(labels: np.ndarray, probs: np.ndarray) -> Ranking:
    """Rank labels (N,) by out-of-fold probabilities (N, K).

    The quality is by how much the label's class is likelier than the likeliest other one.

    Raises:
        MissingExtraError: cleanlab is not installed
    """
    require_cleanlab()
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(labels, probs, method=METHOD)
    issues = find_label_issues(labels, probs, filter_by="prune_by_noise_rate", n_jobs=1)
    return Ranking(np.argsort(quality, kind="stable"), quality, int(issues.sum()))


def evaluate_ranking(order: np.ndarray, is_wrong: np.ndarray) -> dict[str, Any] | None:
    """Measure how well a ranking finds the wrong labels, bool (N,); None where there are none.

    Returns:
        ``n_wrong``; at that many suspects ``true_positives``, ``precision`` and ``recall``, which
        are equal there; ``chance``, the precision of a random order; and ``curve``: ``suspects``,
        ``precision`` and ``recall`` at 1/4, 1/2, 1, 2 and 4 times as many suspects.
    """
    n_wrong = int(is_wrong.sum())
    if not n_wrong:
        return None
    n_detected = np.cumsum(is_wrong[order])
    depths = [min(len(order), max(1, round(n_wrong * k))) for k in (0.25, 0.5, 1, 2, 4)]
    curve = [
        {"suspects": depth, "precision": float(n / depth), "recall": float(n / n_wrong)}
        for depth, n in zip(depths, n_detected[np.array(depths) - 1], strict=True)
    ]
    counts = {"n_wrong": n_wrong, "true_positives": int(n_detected[n_wrong - 1])}
    fractions = dict.fromkeys(("precision", "recall"), counts["true_positives"] / n_wrong)
    return {**counts, **fractions, "chance": n_wrong / len(order), "curve": curve}
