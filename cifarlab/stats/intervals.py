"""Intervals of proportions: of one, and of the difference between two on the same images."""

import math

import numpy as np


def wilson_interval(correct: int, n: int) -> list[float]:
    """Return the 95 % Wilson score interval of a proportion, [low, high] (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def paired_gain(ours: np.ndarray, base: np.ndarray) -> dict[str, float | list[float]]:
    """Return the ``gain`` in accuracy of ours over base, its 95 % ``interval`` and ``p``.

    Both are bool (N,): which of the same images are right. The interval is that of Agresti & Min
    2005: half an image is added to each cell of the 2 x 2 table. ``p`` is of McNemar's exact test.
    """
    from scipy.stats import norm

    n_gained, n_lost = int((ours & ~base).sum()), int((base & ~ours).sum())
    n, b, c = len(ours) + 2, n_gained + 0.5, n_lost + 0.5
    center = (b - c) / n
    half_width = float(norm.ppf(0.975)) * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    return {
        "gain": (n_gained - n_lost) / len(ours),
        "interval": [center - half_width, center + half_width],
        "p": mcnemar_p(n_gained, n_lost),
    }


def lower_bound_of_gain(n_gained: int, n_lost: int, n: int) -> float:
    """Return the one-sided 95 % bound below which the gain of ``paired_gain`` hardly lies.

    It inverts the score test of Tango 1998 (Statistics in Medicine 17:891), which keeps its level
    where few images or none differ; ``paired_gain``'s interval would be too narrow there.

    Args:
        n_gained: images that ours alone has right
        n_lost: images that base alone has right
        n: all images
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    if n_lost == n:
        return -1.0

    def score(gain: float) -> float:
        """Return how far the images speak against a true gain as small as that, as a normal z."""
        b = -n_gained - n_lost + (2 * n - n_gained + n_lost) * gain
        c = -n_lost * gain * (1 - gain)
        # of losses, the likeliest fraction if the true gain is that
        loss_fraction = (math.sqrt(b * b - 8 * n * c) - b) / (4 * n)
        variance = n * (2 * loss_fraction + gain * (1 - gain))
        return (n_gained - n_lost - n * gain) / math.sqrt(variance)

    z = float(norm.ppf(0.95))
    return float(brentq(lambda gain: score(gain) - z, 1e-9 - 1, (n_gained - n_lost) / n - 1e-9))


def mcnemar_p(n_gained: int, n_lost: int) -> float:
    """Return the p value of McNemar's exact test: are as many images gained as lost?"""
    from scipy.stats import binomtest

    n_discordant = n_gained + n_lost
    return float(binomtest(n_gained, n_discordant).pvalue) if n_discordant else 1.0
