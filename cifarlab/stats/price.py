"""What a verdict costs before it is paid: seeds until a study decides, by simulation."""

from typing import NamedTuple

import numpy as np

from cifarlab.stats.paired import ALPHA
from cifarlab.stats.sequential import Plan, first_rejections

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
    n_before: int = 0,
) -> Price:
    """Return what it takes to decide about a true difference.

    Args:
        std: standard deviation of the pairs' differences, above 0
        difference: the true mean difference
        plan: when somebody looks; a study that never decides ends at its last look
        margin: below which two rows count as the same; None: only differences are decided
        level: the error rate of all looks together
        n_before: pairs that are there already; they count, their values are drawn anew
    """
    draws = np.random.default_rng(1)
    studies = draws.normal(difference, std, (N_STUDIES, plan.most))
    ends = [first_rejections(studies, plan, level=level)]
    if margin is not None:
        sides = np.stack(
            [
                first_rejections(studies, plan, -margin, "greater", level),
                first_rejections(studies, plan, margin, "less", level),
            ]
        )
        ends.append(np.where(sides.all(axis=0), sides.max(axis=0), 0))
    decided = np.stack([np.where(end > 0, end, plan.most + 1) for end in ends]).min(axis=0)
    pairs = np.clip(decided, n_before, plan.most)
    return Price(float(pairs.mean()), float((decided <= plan.most).mean()))
