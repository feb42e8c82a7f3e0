"""Images that one recipe answers right and another wrong, by class.

Pure functions of which images are right, bool (S pairs of runs, N images).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cifarlab.stats.crossed import crossed_intervals
from cifarlab.stats.intervals import mcnemar_p
from cifarlab.stats.paired import Interval, holm
from cifarlab.stats.sequential import Plan


class ClassFlips(NamedTuple):
    """The images of a class that flip: from wrong to right (``n_gained``) and back (``lost``).

    Both are mean numbers of images for a pair of runs. ``difference`` is that of the accuracies;
    ``interval`` holds for other seeds and other images, of one pair of runs for other images;
    ``p`` is corrected for all classes (Holm), None where no image flips, all pairs of runs have
    the same difference, or the plan has no look at so few.
    """

    name: str
    n_images: int
    n_gained: float
    n_lost: float
    difference: float
    interval: Interval | None
    p: float | None


class Flips(NamedTuple):
    """Mean numbers of images that flip in a pair of runs, in all and by class.

    ``p`` is of McNemar's exact test, for one pair of runs alone.
    """

    n_gained: float
    n_lost: float
    p: float | None
    classes: tuple[ClassFlips, ...]


def count_flips(
    ours: np.ndarray,
    base: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    plan: Plan,
) -> Flips:
    """Count the images that flip, and test each class with images.

    Args:
        ours: which images are right, bool (S, N)
        base: the same of the runs that these are compared with, pair by pair
        labels: the images' classes (N,)
        classes: names of the classes
        plan: after how many pairs of runs somebody may look
    """
    rows, ps = [], []
    for number, name in enumerate(classes):
        in_class = labels == number
        if n_images := int(in_class.sum()):
            row, p = _class_flips(name, n_images, ours[:, in_class], base[:, in_class], plan)
            rows.append(row)
            ps.append(p)
    holm_ps = holm([1.0 if p is None else p for p in ps]).tolist()
    rows = [
        row if p is None else row._replace(p=holm_p)
        for row, p, holm_p in zip(rows, ps, holm_ps, strict=True)
    ]
    n_gained, n_lost = _count(ours, base)
    single = mcnemar_p(int(n_gained), int(n_lost)) if len(ours) == 1 else None
    return Flips(n_gained, n_lost, single, tuple(rows))


def _class_flips(
    name: str, n_images: int, ours: np.ndarray, base: np.ndarray, plan: Plan
) -> tuple[ClassFlips, float | None]:
    """Return a class's flips, and the p value of no difference before any correction by Holm."""
    n_pairs = len(ours)
    n_gained, n_lost = _count(ours, base)
    difference = (n_gained - n_lost) / n_images
    row = ClassFlips(name, n_images, n_gained, n_lost, difference, None, None)
    if n_images < 2 or not n_gained + n_lost:
        return row, None
    level = plan.limits(n_pairs).get(n_pairs)
    intervals = crossed_intervals(ours.astype(np.float64) - base, level)
    if n_pairs == 1:
        return row._replace(interval=intervals.images), mcnemar_p(int(n_gained), int(n_lost))
    p = plan.p_at(n_pairs, intervals.p_value())
    return row._replace(interval=intervals.seeds_and_images), p


def _count(ours: np.ndarray, base: np.ndarray) -> tuple[float, float]:
    """Return how many images a pair gains and loses, means over the pairs."""
    return float((ours & ~base).sum(1).mean()), float((base & ~ours).sum(1).mean())
