"""False discoveries over a book of claims that never ends: LOND (Javanmard & Montanari 2015).

Claim t is tested at ``alpha * gamma_t * (acceptances before + 1)``, where all gamma add up to 1.
The p value of each claim has to be valid given all earlier claims. Runs of its own see to that as
far as seeds go; the luck of test images that all claims share may stay with what is built on
earlier ones, so that claims are about these images. Then the expected fraction of false ones among
the acceptances is at most alpha, however long the book gets, since where claim t is accepted there
are at least (acceptances before + 1) of them:

    E[false acceptances / acceptances] <= sum of E[1{p_t <= level_t} / (acceptances before + 1)]
                                       <= sum of alpha * gamma_t = alpha

No later claim changes an earlier one: an acceptance is never revoked.
"""

from cifarlab.stats.paired import ALPHA

# gamma_t falls like (t + 3)^-1.5: without an acceptance the first claim has a level of 0.006, the
# tenth 0.001, the hundredth 0.00004
_SHIFT, _POWER = 3, 1.5


def next_level(n_claims: int, n_accepted: int, alpha: float = ALPHA) -> float:
    """Return the level of the next claim after so many, of which so many were accepted."""
    from scipy.special import zeta

    gamma: float = (n_claims + 1 + _SHIFT) ** -_POWER / float(zeta(_POWER, 1 + _SHIFT))
    return min(1.0, alpha * gamma * (n_accepted + 1))
