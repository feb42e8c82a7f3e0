"""False discoveries over a book of claims that never ends: LOND (Javanmard & Montanari 2015).

Claim t is tested at ``alpha * gamma_t * (acceptances before + 1)``, where all gamma add up to 1. Each
claim is judged on runs of its own, so that its p value is valid whatever was found before; then the
expected fraction of false ones among the acceptances is at most alpha, however long the book gets:

    E[sum of false / acceptances] <= sum E[1{p_t <= level_t} / (acceptances before + 1)]
                                  <= sum alpha * gamma_t = alpha

No later claim changes an earlier one: an acceptance is never revoked.
"""

from collections.abc import Sequence

from cifarlab.stats.paired import ALPHA

# gamma_t falls like (t + 3)^-1.5: the first claims are not much dearer than a single test, and a
# long book still accepts
_SHIFT, _POWER = 3, 1.5


def next_level(accepted: Sequence[bool], alpha: float = ALPHA) -> float:
    """Return the level of the next claim, after those that were accepted or not."""
    from scipy.special import zeta

    claim = len(accepted) + 1
    gamma = (claim + _SHIFT) ** -_POWER / float(zeta(_POWER, 1 + _SHIFT))
    return min(1.0, alpha * gamma * (sum(accepted) + 1))
