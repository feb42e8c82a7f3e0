"""The plateau schedule against PyTorch's and against the definition, epoch by epoch."""

from typing import ClassVar, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cifarlab.config.family import allow_plugins, set_kind_owner
from cifarlab.metrics.kinds import MetricConfig
from cifarlab.optim.schedules import Plateau, ScheduleState
from cifarlab.recipes.text import build

losses = st.lists(st.integers(1, 400).map(lambda n: n / 100), min_size=1, max_size=40)


def plateau(**settings):
    return build({"schedule": {"kind": "plateau", **settings}}).schedule


def factors(schedule, values):
    """The rate's factor in the epoch after each of these losses."""
    state, factors = ScheduleState(), []
    for value in values:
        state = schedule.update_state(state, value)
        factors.append(state.factor)
    return factors


def test_a_loss_that_stays_is_borne_for_patience_epochs_and_then_the_lr_falls():
    assert factors(plateau(patience=2, factor=0.5), [1.0] * 8) == [
        1,
        1,
        1,
        0.5,
        0.5,
        0.5,
        0.25,
        0.25,
    ]


def test_an_improvement_starts_the_waiting_anew():
    values = [3, 3, 3, 2, 2, 2, 2, 1]
    assert factors(plateau(patience=2, factor=0.5), values) == [1] * 6 + [0.5, 0.5]


def test_too_small_an_improvement_is_none():
    values = [1.0, 0.95, 0.91, 0.89, 0.87]
    assert factors(plateau(patience=0, factor=0.5, threshold=0.1), values) == [
        1,
        0.5,
        0.25,
        0.25,
        0.125,
    ]


def test_the_lr_never_falls_below_the_least():
    assert factors(plateau(patience=0, factor=0.5, min_factor=0.3), [1.0] * 5) == [
        1,
        0.5,
        0.3,
        0.3,
        0.3,
    ]


@given(
    values=losses,
    patience=st.integers(0, 4),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    threshold=st.sampled_from([0, 1e-4, 0.1]),
)
def test_it_is_pytorch_s(values, patience, factor, threshold):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=threshold, eps=0.0
    )
    expected = []
    for value in values:
        theirs.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    ours = plateau(patience=patience, factor=factor, threshold=threshold)
    assert factors(ours, values) == pytest.approx(expected, rel=1e-12)


with set_kind_owner("signed"):

    class SignedLoss(MetricConfig):
        kind: Literal["signed-loss"] = "signed-loss"
        higher_is_better: ClassVar[bool] = False

        def value(self, logits, labels):
            return 0.0

    class SignedScore(SignedLoss):
        kind: Literal["signed-score"] = "signed-score"
        higher_is_better: ClassVar[bool] = True


@pytest.mark.parametrize(
    ("monitor", "values"),
    [
        # after the first, one that is better by less than a tenth, and one by more
        ("signed-loss", [-1.0, -1.05, -1.2, -1.1]),
        ("signed-loss", [0.5, 0.48, 0.4, -0.1]),
        ("signed-loss", [0.0, 0.0, -0.1, -0.105]),
        ("signed-score", [-1.0, -0.95, -0.8, -0.9]),
        ("signed-score", [-0.1, -0.095, 0.1, 0.105]),
    ],
)
def test_the_threshold_is_a_fraction_of_the_size_of_negative_values_too(monitor, values):
    with allow_plugins(["signed"]):
        schedule = Plateau(patience=0, factor=0.5, threshold=0.1, monitor=monitor)
    expected, best, factor = [], None, 1.0
    sign = 1 if monitor == "signed-score" else -1
    for value in values:
        if best is None or sign * value > sign * best + 0.1 * abs(best):
            best = value
        else:
            factor /= 2
        expected.append(factor)
    assert expected[1:3] == [0.5, 0.5]
    assert factors(schedule, values) == expected
