"""What a verdict costs before it is paid: seeds until a study decides, by simulation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cifarlab.stats.paired import ALPHA
from cifarlab.stats.sequential import Plan, equivalence_ps, sequential_ps

N_STUDIES = 4_000  # chances are met within 0.02


class Price(NamedTuple):
    """Mean number of pairs until the end, and the chance that the end is a decision."""

    pairs: float
    chance: float


def price(
    std: float,
    difference: float,
    plan: Plan,
    margin: float | None = None,
    level: float = ALPHA,
    seen: Sequence[float] = (),
    most: int | None = None,
) -> Price:
    """Return what it takes to decide about a true difference.

    Args:
        std: standard deviation of the pairs' differences, above 0
        difference: the true mean difference
        plan: when somebody looks; a study that never decides ends at its last look
        margin: below which two rows count as the same; None: only differences are decided
        level: the error rate of all looks together
        seen: differences of the pairs that are there already, in their order; only the others are
            drawn
        most: pairs at most, where the study ends before the plan's last look
    """
    most = min(most or plan.most, plan.most)
    draws = np.random.default_rng(1)
    studies = draws.normal(difference, std, (N_STUDIES, most))
    n_seen = len(seen[:most])
    studies[:, :n_seen] = seen[:n_seen]
    ps = sequential_ps(studies, plan)
    if margin is not None:
        ps = np.minimum(ps, equivalence_ps(studies, plan, margin))
    is_decided = ps <= level
    ends = np.where(is_decided.any(axis=1), is_decided.argmax(axis=1) + 1, most)
    pairs = float(np.maximum(ends, n_seen).mean())
    return Price(pairs, float(is_decided.any(axis=1).mean()))
