"""Rates, momentum and ends of groups at each step, by exact fractions."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from cifarlab.config.base import ROLES
from cifarlab.optim.group_settings import apply_schedule, linear_decay, momentum_at
from cifarlab.optim.optimizers import build_optimizer
from cifarlab.optim.schedules import Segment, lr_factor
from cifarlab.recipes.text import build

PER_EPOCH = 4
KINDS = ["sgd", "adam", "adamw", "adagrad", "adadelta", "rmsprop", "muon"]
PLANNED = [Segment(8, "planned")]
EXTENDED = [*PLANNED, Segment(3, "hold"), Segment(4, "stretch"), Segment(2, "restart")]


class Tiny(nn.Module):
    """One parameter of each role; the loss asks for a gradient of each."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.ParameterDict(
            {role: torch.randn(3, 4, generator=generator) for role in ROLES}
        )

    def loss(self):
        return sum(((w - 1) ** 2).sum() for w in self.weights.values() if w.requires_grad)


def recipe(optimizer, schedule):
    return build({"optimizer": optimizer, "schedule": {"kind": "linear", **schedule}})


def build_all(optimizer, **schedule):
    config = recipe(optimizer, schedule)
    network = Tiny()
    roles = {role: [network.weights[role]] for role in ROLES}
    return network, build_optimizer(config.optimizer, roles), config.schedule


def apply_step(optimizer, schedule, step, segments=PLANNED):
    """Set what that step needs, as a run of these segments does; the schedule's factor."""
    factor = lr_factor(schedule, step, segments, PER_EPOCH)
    apply_schedule(optimizer, schedule, step, factor, segments[0].steps, PER_EPOCH)
    return factor


def walk(optimizer, schedule, key, segments=EXTENDED):
    """The value of that key in each group at each step."""
    values = []
    for step in range(sum(s.steps for s in segments)):
        apply_step(optimizer, schedule, step, segments)
        values.append([group[key] for group in optimizer.param_groups])
    return values


def test_countdown_by_exact_fractions():
    assert [linear_decay(step, 5) for step in range(5)] == [1 - step / 5 for step in range(5)]
    assert [linear_decay(step, 8) for step in range(10)] == [n / 8 for n in range(8, 0, -1)] + [
        0,
        0,
    ]
    assert [linear_decay(step, 0) for step in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(("peak", "final"), [(0.75, 0.25), (0.5, 0.875), (0, 0.5), (0.5, 0)])
@pytest.mark.parametrize("n_steps", [1, 7, 8])
def test_momentum_moves_by_equal_strides_and_then_stays(peak, final, n_steps):
    stride = (Fraction(final) - Fraction(peak)) / n_steps
    exact = [Fraction(peak) + stride * step for step in range(n_steps)] + [Fraction(final)] * 3
    got = [momentum_at(peak, final, step, n_steps) for step in range(n_steps + 3)]
    assert got == pytest.approx([float(f) for f in exact], abs=2e-16)


@pytest.mark.parametrize("kind", KINDS)
def test_each_group_s_lr_is_its_peak_times_the_schedule(kind):
    groups = {"norms": {"lr": 0.5}, "head": {"lr": 2.0}}
    _, optimizer, schedule = build_all({"kind": kind, "lr": 0.25, **groups}, warmup="2 steps")
    peaks = [0.25, 0.25, 0.5, 0.25, 2.0, 0.25]
    if kind == "muon":
        peaks = [0.25, 0.25, 0.5, 0.1, 2.0, 0.1]
    lrs = walk(optimizer, schedule, "lr")
    factors = [lr_factor(schedule, step, EXTENDED, PER_EPOCH) for step in range(len(lrs))]
    assert lrs == [[peak * factor for peak in peaks] for factor in factors]


@pytest.mark.parametrize(
    ("until", "steps"), [("5 steps", 5), ("1.5 epochs", 6), ("0.5 of the run", 4), ("0 steps", 0)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_group_with_an_end_falls_to_zero_there_and_stays_whatever_the_schedule(
    kind, until, steps
):
    groups = {"whitening": {"until": until, "lr": 0.5}}
    network, optimizer, schedule = build_all({"kind": kind, **groups}, warmup="3 steps")
    for step in range(sum(s.steps for s in EXTENDED)):
        apply_step(optimizer, schedule, step, EXTENDED)
        exact = 0.5 * (1 - step / steps) if step < steps else 0
        assert optimizer.param_groups[-1]["lr"] == exact
        trainable = {role for role, w in network.weights.items() if w.requires_grad}
        assert trainable == (set(ROLES) if step < steps else set(ROLES) - {"whitening"})


@pytest.mark.parametrize("kind", KINDS)
def test_from_its_end_on_a_group_is_left_alone_by_gradients_and_steps(kind):
    groups = {"whitening": {"until": "3 steps", "weight_decay": 0.5}}
    network, optimizer, schedule = build_all({"kind": kind, **groups})
    w, weights = network.weights["whitening"], []
    for step in range(6):
        apply_step(optimizer, schedule, step)
        if step >= 3:
            assert w.grad is None
        network.loss().backward()  # gradients of the step before are not cleared on purpose
        optimizer.step()
        weights.append(w.detach().clone())
    assert all(not torch.equal(weights[n], weights[n + 1]) for n in range(2))
    assert all(torch.equal(weights[n], weights[n + 1]) for n in range(2, 5))


def test_the_step_alone_decides_and_not_the_steps_before():
    groups = {"whitening": {"until": "3 steps"}, "biases": {"until": "5 steps"}}
    settings = {"kind": "sgd", **groups}
    network, optimizer, schedule = build_all(settings, final_momentum=0.5)
    for step in (7, 2, 4, 0, 5, 3):
        other_network, other, _ = build_all(settings, final_momentum=0.5)
        apply_step(optimizer, schedule, step)
        apply_step(other, schedule, step)
        for a, b in zip(optimizer.param_groups, other.param_groups, strict=True):
            assert {k: a[k] for k in a if k != "params"} == {k: b[k] for k in b if k != "params"}
        for role in ROLES:
            required = network.weights[role].requires_grad
            assert required == other_network.weights[role].requires_grad


@pytest.mark.parametrize(
    ("kind", "peaks"), [("sgd", [0.75] * 6), ("muon", [0.75] * 2 + [0.25] * 4)]
)
def test_momentum_of_every_group_moves_over_the_planned_run_and_is_held_in_extensions(kind, peaks):
    settings = {"kind": kind, "momentum": 0.75, "head": {"lr": 1}}
    if kind == "muon":
        settings["aux_sgd"] = {"momentum": 0.25}
    _, optimizer, schedule = build_all(settings, final_momentum=0.5)
    momenta = walk(optimizer, schedule, "momentum")
    factors = [step / 8 for step in range(8)] + [1] * 9
    assert momenta == [[p + (0.5 - p) * factor for p in peaks] for factor in factors]


@pytest.mark.parametrize("kind", ["sgd", "muon"])
def test_without_a_final_one_momentum_stays(kind):
    _, optimizer, schedule = build_all({"kind": kind, "momentum": 0.75})
    momenta = walk(optimizer, schedule, "momentum")
    assert {row[0] for row in momenta} == {0.75}


@pytest.mark.parametrize("momentum", [0, 0.5])
def test_sgd_trains_with_momentum_from_zero_and_to_zero(momentum):
    network, optimizer, schedule = build_all(
        {"kind": "sgd", "momentum": momentum, "lr": 0.25}, final_momentum=0.5 - momentum
    )
    segments = [*PLANNED, Segment(3, "hold")]
    w, velocity = network.weights["head"].detach().double().clone(), torch.zeros(3, 4).double()
    for step in range(11):
        lr = 0.25 * apply_step(optimizer, schedule, step, segments)
        optimizer.zero_grad(set_to_none=True)
        network.loss().backward()
        optimizer.step()
        current = momentum + (0.5 - 2 * momentum) * min(step / 8, 1)
        update = current * velocity + 2 * (w - 1)
        velocity = update if current else velocity  # else PyTorch keeps none
        w = w - lr * update
    torch.testing.assert_close(network.weights["head"].double(), w, rtol=1e-5, atol=1e-6)
