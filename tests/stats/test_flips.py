"""Flips and their tests against loops, statsmodels and simulated truth."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from cifarlab.stats.crossed import crossed_intervals
from cifarlab.stats.flips import count_flips
from cifarlab.stats.intervals import mcnemar_p
from cifarlab.stats.sequential import Plan

CLASSES = ("cat", "dog", "ship")


def answers(n_pairs: int, n_images: int = 300, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Which images are right of two recipes, and the labels; one has more ships right."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, n_images)
    base = draw.random((n_pairs, n_images)) < 0.8
    ours = np.where(draw.random((n_pairs, n_images)) < 0.7, base, draw.random(n_images) < 0.8)
    return ours | ((labels == 2) & (draw.random((n_pairs, n_images)) < 0.5)), base, labels


@pytest.mark.parametrize("n_pairs", [1, 4])
def test_flips_are_those_of_a_loop(n_pairs):
    ours, base, labels = answers(n_pairs)
    flips = count_flips(ours, base, labels, CLASSES, Plan.once(n_pairs))
    for number, row in enumerate(flips.classes):
        n_gained = n_lost = 0
        for pair in range(n_pairs):
            for image in np.flatnonzero(labels == number):
                n_gained += bool(ours[pair, image] and not base[pair, image])
                n_lost += bool(base[pair, image] and not ours[pair, image])
        assert row.n_images == (labels == number).sum() and row.name == CLASSES[number]
        assert (row.n_gained, row.n_lost) == (n_gained / n_pairs, n_lost / n_pairs)
        in_class = labels == number
        difference = ours[:, in_class].mean() - base[:, in_class].mean()
        assert row.difference == pytest.approx(difference)
        assert row.interval[0] < row.difference < row.interval[1]
    assert flips.n_gained == pytest.approx(sum(row.n_gained for row in flips.classes))
    assert flips.n_lost == pytest.approx(sum(row.n_lost for row in flips.classes))


def test_one_pair_is_mcnemar_s_test_with_holm_over_the_classes():
    ours, base, labels = answers(1)
    flips = count_flips(ours, base, labels, CLASSES, Plan.open())
    ps = []
    for number in (0, 1, 2, None):
        images = np.full(len(labels), True) if number is None else labels == number
        table = [
            [(ours[0, images] == a)[base[0, images] == b].sum() for b in (True, False)]
            for a in (True, False)
        ]
        ps.append(mcnemar(table, exact=True).pvalue)
    assert flips.p == pytest.approx(ps[3])
    corrected = list(multipletests(ps[:3], method="holm")[1])
    assert [row.p for row in flips.classes] == pytest.approx(corrected)
    assert flips.classes[2].p < 0.05 < flips.classes[0].p
    assert mcnemar_p(0, 0) == 1


def test_several_pairs_are_tested_for_other_seeds_and_images():
    ours, base, labels = answers(4)
    plan = Plan.up_to(10)
    flips = count_flips(ours, base, labels, CLASSES, plan)
    ps = [
        plan.p_at(4, crossed_intervals((ours * 1.0 - base)[:, labels == k]).p_value())
        for k in range(3)
    ]
    corrected = list(multipletests(ps, method="holm")[1])
    assert [row.p for row in flips.classes] == pytest.approx(corrected)
    assert flips.p is None


def test_a_class_without_images_is_left_out_and_one_without_flips_has_no_p():
    ours, base, labels = answers(3)
    labels[labels == 0] = 1
    ours[:, labels == 1] = base[:, labels == 1]
    rows = count_flips(ours, base, labels, CLASSES, Plan.open()).classes
    assert [row.name for row in rows] == ["dog", "ship"]
    assert rows[0][2:] == (0, 0, 0, None, None) and rows[1].p is not None


def test_a_class_that_cannot_be_tested_counts_for_holm_all_the_same():
    ours, base, labels = answers(4)
    ours[:, labels == 0] = base[:, labels == 0]  # no cat flips
    flips = count_flips(ours, base, labels, CLASSES, Plan.once(4))
    ps = [crossed_intervals((ours * 1.0 - base)[:, labels == k]).p_value() for k in (1, 2)]
    assert [row.p for row in flips.classes[1:]] == pytest.approx(
        multipletests([*ps, 1.0], method="holm")[1][:2]
    )
    assert flips.classes[0].p is None
    waiting = count_flips(ours, base, labels, CLASSES, Plan.once(5)).classes  # no look at four
    assert {row.p for row in waiting} == {row.interval for row in waiting} == {None}
