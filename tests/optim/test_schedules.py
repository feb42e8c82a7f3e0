"""Schedules as exact fractions, by slow code that walks the run step by step."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, OneCycleLR

from cifarlab.optim.schedules import Segment, lr_factor
from cifarlab.recipes.text import build

PER_EPOCH = 4


def schedule(kind, **settings):
    return build({"schedule": {"kind": kind, **settings}}).schedule


def factors(config, *segments, per_epoch=PER_EPOCH):
    """The factor at each step; the first segment is given as its number of steps."""
    planned, *rest = segments
    parts = [Segment(planned, "planned"), *(Segment(*s) for s in rest)]
    return [lr_factor(config, s, parts, per_epoch) for s in range(sum(p.steps for p in parts))]


def steps_of(text, total, per_epoch):
    """A duration in steps, rounded half up, from its text."""
    number, unit = text.split(" ", 1)
    length = {"e": per_epoch, "s": 1, "o": total}[unit[0]]
    return math.floor(Fraction(number) * length + Fraction(1, 2))


def warm_up(rise, after):
    """A linear rise over ``rise`` steps that ends one step before the first 1."""
    return [Fraction(s + 1, rise) for s in range(rise)][: len(after)] + after[rise:]


def slow_multistep(total, per_epoch, gamma, milestones):
    factor, factors = Fraction(1), []
    for step in range(total):
        for milestone in milestones:
            if steps_of(milestone, total, per_epoch) == step:
                factor *= gamma
        factors.append(factor)
    return factors


def slow_exponential(total, per_epoch, gamma):
    factor, factors = Fraction(1), []
    while len(factors) < total:
        factors += [factor] * per_epoch
        factor *= gamma
    return factors[:total]


def slow_cosine(total, rise, final):
    """cos² of half the angle: the same curve by another formula."""
    factors = [Fraction(0)] * rise
    for step in range(rise, total):
        height = math.cos(math.pi / 2 * (step - rise) / (total - rise)) ** 2
        factors.append(final + (1 - final) * height)
    return factors


def slow_linear(total, rise, final):
    """The same stride down at each step, from 1; one more would reach ``final``."""
    factors, factor = [Fraction(0)] * rise, Fraction(1)
    for _ in range(rise, total):
        factors.append(factor)
        factor -= (1 - final) / (total - rise)
    return factors


def test_constant():
    assert factors(schedule("constant"), 9) == [1.0] * 9


@pytest.mark.parametrize("warmup", ["1 epoch", "7 steps", "0.3 of the run", "0 steps", "1 step"])
@pytest.mark.parametrize("kind", ["constant", "multistep", "exponential", "cosine", "linear"])
def test_warm_up_rises_by_exact_fractions_and_reaches_the_peak_on_its_last_step(kind, warmup):
    rise = steps_of(warmup, 24, PER_EPOCH)
    got = factors(schedule(kind, warmup=warmup), 24)
    assert got[:rise] == [float(Fraction(s + 1, rise)) for s in range(rise)]
    if rise:
        assert got[rise - 1] == 1
    without = factors(schedule(kind), 24)
    if kind not in (
        "cosine",
        "linear",
    ):  # these start when the warm-up ends, the others count from 0
        assert got[rise:] == without[rise:]
    assert got[rise] == 1 or kind in ("multistep", "exponential")


def test_a_milestone_holds_from_its_own_step_on():
    config = schedule("multistep", milestones=["3 steps", "2 epochs", "0.75 of the run"], gamma=0.5)
    assert factors(config, 16) == [1] * 3 + [0.5] * 5 + [0.25] * 4 + [0.125] * 4


def test_milestones_in_any_order_and_two_at_once():
    config = schedule("multistep", milestones=["6 steps", "2 steps", "6 steps"], gamma=0.5)
    assert factors(config, 8) == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.125, 0.125]


def test_a_milestone_in_the_warm_up_holds_after_it():
    config = schedule("multistep", milestones=["1 step"], gamma=0.5, warmup="2 steps")
    assert factors(config, 4) == [0.5, 1, 0.5, 0.5]


def test_exponential_changes_between_epochs_only():
    config = schedule("exponential", gamma=0.5)
    assert factors(config, 10) == [1] * 4 + [0.5] * 4 + [0.25] * 2


def test_cosine_at_the_points_that_are_exact():
    got = factors(schedule("cosine"), 12)
    assert got[0] == 1
    for step, exact in ((3, (2 + math.sqrt(2)) / 4), (4, 0.75), (6, 0.5), (8, 0.25)):
        assert got[step] == pytest.approx(exact, abs=1e-15)
    assert all(earlier > later > 0 for earlier, later in pairwise(got))


def test_cosine_falls_towards_its_end_factor():
    full, half = factors(schedule("cosine"), 9), factors(schedule("cosine", end_factor=0.25), 9)
    assert half == pytest.approx([0.25 + 0.75 * f for f in full], abs=1e-15)
    assert factors(schedule("cosine", end_factor=1), 9) == [1] * 9


lengths = st.integers(1, 60)
warmups = st.one_of(
    st.integers(0, 70).map("{} steps".format),
    st.integers(0, 16).map(lambda n: f"{n / 4} epochs"),
    st.integers(0, 8).map(lambda n: f"{n / 8} of the run"),
)


@given(total=lengths, per_epoch=st.integers(1, 9), warmup=warmups, final=st.integers(0, 4))
def test_cosine_against_the_slow_one(total, per_epoch, warmup, final):
    rise = steps_of(warmup, total, per_epoch)
    got = factors(
        schedule("cosine", warmup=warmup, end_factor=final / 4), total, per_epoch=per_epoch
    )
    slow = warm_up(rise, slow_cosine(total, min(rise, total), final / 4))
    assert got == pytest.approx([float(f) for f in slow], abs=1e-14)


def test_linear_by_exact_fractions():
    assert factors(schedule("linear"), 8) == [s / 8 for s in (8, 7, 6, 5, 4, 3, 2, 1)]
    got = factors(schedule("linear", warmup="4 steps", end_factor=0.5), 12)
    assert got == [s / 16 for s in (4, 8, 12, 16, 16, 15, 14, 13, 12, 11, 10, 9)]


@pytest.mark.parametrize("total", [1, 7, 200])
def test_linear_to_zero_is_to_the_last_bit_what_airbench_writes(total):
    assert factors(schedule("linear"), total) == [1 - step / total for step in range(total)]


@given(total=lengths, per_epoch=st.integers(1, 9), warmup=warmups, final=st.integers(0, 4))
def test_linear_against_the_slow_one(total, per_epoch, warmup, final):
    rise = steps_of(warmup, total, per_epoch)
    got = factors(
        schedule("linear", warmup=warmup, end_factor=final / 4), total, per_epoch=per_epoch
    )
    slow = warm_up(rise, slow_linear(total, min(rise, total), Fraction(final, 4)))
    assert got == pytest.approx([float(f) for f in slow], abs=1e-15)


@given(total=lengths, per_epoch=st.integers(1, 9), warmup=warmups)
def test_exponential_against_the_slow_one(total, per_epoch, warmup):
    got = factors(schedule("exponential", gamma=0.5, warmup=warmup), total, per_epoch=per_epoch)
    slow = slow_exponential(total, per_epoch, Fraction(1, 2))
    assert got == [float(f) for f in warm_up(steps_of(warmup, total, per_epoch), slow)]


@given(
    total=lengths,
    per_epoch=st.integers(1, 9),
    warmup=warmups,
    milestones=st.lists(warmups, min_size=1, max_size=4),
)
@settings(max_examples=60)
def test_multistep_against_the_slow_one(total, per_epoch, warmup, milestones):
    config = schedule("multistep", gamma=0.5, warmup=warmup, milestones=milestones)
    slow = slow_multistep(total, per_epoch, Fraction(1, 2), milestones)
    expected = warm_up(steps_of(warmup, total, per_epoch), slow)
    assert factors(config, total, per_epoch=per_epoch) == [float(f) for f in expected]


def test_a_factor_of_a_tenth_is_a_power_of_it():
    got = factors(schedule("multistep", milestones=["1 step", "2 steps", "3 steps"]), 4)
    assert got == pytest.approx([1, 0.1, 0.01, 0.001], rel=1e-15)


def test_step_lowers_the_lr_every_so_often_from_the_run_s_start():
    config = schedule("step", step_size="3 steps", gamma=0.5, warmup="2 steps")
    assert factors(config, 10) == [0.5, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


@given(total=lengths, per_epoch=st.integers(1, 9), interval=st.integers(1, 5), warmup=warmups)
def test_step_is_a_multistep_of_all_multiples(total, per_epoch, interval, warmup):
    config = schedule("step", step_size=f"{interval} epochs", gamma=0.5, warmup=warmup)
    milestones = [f"{n * interval} epochs" for n in range(1, 1 + total)]
    same = schedule("multistep", milestones=milestones, gamma=0.5, warmup=warmup)
    got = factors(config, total, per_epoch=per_epoch)
    assert got == factors(same, total, per_epoch=per_epoch)


def slow_restarts(total, rise, period, growth, peak, final):
    """One cosine after another, each appended whole."""
    factors, number = [Fraction(0)] * rise, 0
    while len(factors) < total:
        length = max(1, round(period * growth**number))
        for step in range(length):
            height = math.cos(math.pi / 2 * step / length) ** 2
            factors.append(peak**number * (final + (1 - final) * height))
        number += 1
    return factors[:total]


@given(
    total=lengths,
    warmup=warmups,
    period=st.integers(1, 12),
    growth=st.sampled_from([1, 1.5, 2]),
    peak=st.sampled_from([1, 0.5]),
    final=st.sampled_from([0, 0.25]),
)
def test_restarts_against_the_slow_one(total, warmup, period, growth, peak, final):
    settings = {
        "period": f"{period} steps",
        "cycle_mul": growth,
        "cycle_decay": peak,
        "end_factor": final,
    }
    rise = steps_of(warmup, total, PER_EPOCH)
    got = factors(schedule("cosine_restarts", warmup=warmup, **settings), total)
    slow = warm_up(rise, slow_restarts(total, min(rise, total), period, growth, peak, final))
    assert got == pytest.approx([float(f) for f in slow], abs=1e-14)


@pytest.mark.parametrize("growth", [1, 2])
def test_restarts_are_pytorch_s(growth):
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = CosineAnnealingWarmRestarts(optimizer, 5, growth)
    expected = []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert factors(
        schedule("cosine_restarts", period="5 steps", cycle_mul=growth), 40
    ) == pytest.approx(expected, abs=1e-12)


def test_one_cycle_at_the_points_that_are_exact():
    config = schedule("onecycle", pct_start=0.25, start_factor=0.5, end_factor=0.25)
    got = factors(config, 16)
    assert got[0] == 0.5
    assert got[2] == pytest.approx(0.75, abs=1e-15)
    assert got[4] == 1
    assert got[10] == pytest.approx((1 + 0.25) / 2, abs=1e-15)
    assert all(a < b for a, b in pairwise(got[:5]))
    assert all(a > b > 0.25 for a, b in pairwise(got[4:]))


@pytest.mark.parametrize(("total", "rise"), [(10, 0.3), (101, 0.25)])
def test_one_cycle_is_pytorch_s_but_for_its_last_step(total, rise):
    """PyTorch's reaches the end factor in its last step, ours after it, as all schedules here."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    theirs = OneCycleLR(
        optimizer, 1.0, total_steps=total + 1, pct_start=(rise * total + 1) / (total + 1)
    )
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    config = schedule("onecycle", pct_start=rise, start_factor=1 / 25, end_factor=1 / 25 / 1e4)
    assert factors(config, total) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", ["step", "cosine_restarts", "onecycle", "plateau"])
def test_the_later_schedules_warm_up_by_exact_fractions(kind):
    got = factors(schedule(kind, warmup="5 steps"), 20)
    assert got[:5] == [float(Fraction(s + 1, 5)) for s in range(5)]


@given(warmup=warmups)
def test_plateau_itself_never_changes_the_lr(warmup):
    constant = factors(schedule("constant", warmup=warmup), 20)
    assert factors(schedule("plateau", warmup=warmup), 20) == constant
