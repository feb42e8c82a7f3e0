"""Rates, momentum and ends of groups at each step, by exact fractions."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from cifarlab.optim.group_settings import apply_schedule, linear_decay, momentum_at
from cifarlab.optim.optimizers import ROLES, build_optimizer
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


def made(optimizer, **schedule):
    config = recipe(optimizer, schedule)
    network = Tiny()
    roles = {role: [network.weights[role]] for role in ROLES}
    return network, build_optimizer(config.optimizer, roles), config.schedule


def ready(optimizer, schedule, step, segments=PLANNED):
    """Set what that step needs, as a run of these segments does; the schedule's share."""
    share = lr_factor(schedule, step, segments, PER_EPOCH)
    apply_schedule(optimizer, schedule, step, share, segments[0].steps, PER_EPOCH)
    return share


def walk(optimizer, schedule, key, segments=EXTENDED):
    """The value of that key in each group at each step."""
    values = []
    for step in range(sum(s.steps for s in segments)):
        ready(optimizer, schedule, step, segments)
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
@pytest.mark.parametrize("planned", [1, 7, 8])
def test_momentum_moves_by_equal_strides_and_then_stays(peak, final, planned):
    stride = (Fraction(final) - Fraction(peak)) / planned
    exact = [Fraction(peak) + stride * step for step in range(planned)] + [Fraction(final)] * 3
    got = [momentum_at(peak, final, step, planned) for step in range(planned + 3)]
    assert got == pytest.approx([float(f) for f in exact], abs=2e-16)


@pytest.mark.parametrize("kind", KINDS)
def test_each_group_s_rate_is_its_peak_times_the_schedule(kind):
    own = {"norms": {"lr": 0.5}, "head": {"lr": 2.0}}
    _, optimizer, schedule = made({"kind": kind, "lr": 0.25, **own}, warmup="2 steps")
    peaks = [0.25, 0.5, 0.25, 2.0, 0.25]
    if kind == "muon":
        peaks = [0.25, 0.5, 0.1, 2.0, 0.1]
    rates = walk(optimizer, schedule, "lr")
    shares = [lr_factor(schedule, step, EXTENDED, PER_EPOCH) for step in range(len(rates))]
    assert rates == [[peak * share for peak in peaks] for share in shares]


@pytest.mark.parametrize(
    ("until", "steps"), [("5 steps", 5), ("1.5 epochs", 6), ("0.5 of the run", 4), ("0 steps", 0)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_group_with_an_end_falls_to_zero_there_and_stays_whatever_the_schedule(
    kind, until, steps
):
    own = {"whitening": {"until": until, "lr": 0.5}}
    network, optimizer, schedule = made({"kind": kind, **own}, warmup="3 steps")
    for step in range(sum(s.steps for s in EXTENDED)):
        ready(optimizer, schedule, step, EXTENDED)
        exact = 0.5 * (1 - step / steps) if step < steps else 0
        assert optimizer.param_groups[-1]["lr"] == exact
        trained = {role for role, w in network.weights.items() if w.requires_grad}
        assert trained == (set(ROLES) if step < steps else set(ROLES) - {"whitening"})


@pytest.mark.parametrize("kind", KINDS)
def test_from_its_end_on_a_group_is_left_alone_by_gradients_and_steps(kind):
    own = {"whitening": {"until": "3 steps", "weight_decay": 0.5}}
    network, optimizer, schedule = made({"kind": kind, **own})
    w, seen = network.weights["whitening"], []
    for step in range(6):
        ready(optimizer, schedule, step)
        if step >= 3:
            assert w.grad is None
        network.loss().backward()  # gradients of the step before are not cleared on purpose
        optimizer.step()
        seen.append(w.detach().clone())
    assert all(not torch.equal(seen[n], seen[n + 1]) for n in range(2))
    assert all(torch.equal(seen[n], seen[n + 1]) for n in range(2, 5))


def test_the_step_alone_decides_and_not_the_steps_before():
    own = {"whitening": {"until": "3 steps"}, "biases": {"until": "5 steps"}}
    settings = {"kind": "sgd", **own}
    network, optimizer, schedule = made(settings, final_momentum=0.5)
    for step in (7, 2, 4, 0, 5, 3):
        fresh_network, fresh, _ = made(settings, final_momentum=0.5)
        ready(optimizer, schedule, step)
        ready(fresh, schedule, step)
        for a, b in zip(optimizer.param_groups, fresh.param_groups, strict=True):
            assert {k: a[k] for k in a if k != "params"} == {k: b[k] for k in b if k != "params"}
        for role in ROLES:
            asked = network.weights[role].requires_grad
            assert asked == fresh_network.weights[role].requires_grad


@pytest.mark.parametrize(
    ("kind", "peaks"), [("sgd", [0.75] * 5), ("muon", [0.75, 0.25, 0.25, 0.25, 0.25])]
)
def test_momentum_of_every_group_moves_over_the_planned_run_and_is_held_in_extensions(kind, peaks):
    settings = {"kind": kind, "momentum": 0.75, "head": {"lr": 1}}
    if kind == "muon":
        settings["aux_sgd"] = {"momentum": 0.25}
    _, optimizer, schedule = made(settings, final_momentum=0.5)
    momenta = walk(optimizer, schedule, "momentum")
    shares = [step / 8 for step in range(8)] + [1] * 9
    assert momenta == [[p + (0.5 - p) * share for p in peaks] for share in shares]


@pytest.mark.parametrize("kind", ["sgd", "muon"])
def test_without_a_final_one_momentum_stays(kind):
    _, optimizer, schedule = made({"kind": kind, "momentum": 0.75})
    momenta = walk(optimizer, schedule, "momentum")
    assert {row[0] for row in momenta} == {0.75}


@pytest.mark.parametrize("momentum", [0, 0.5])
def test_sgd_trains_with_momentum_from_zero_and_to_zero(momentum):
    network, optimizer, schedule = made(
        {"kind": "sgd", "momentum": momentum, "lr": 0.25}, final_momentum=0.5 - momentum
    )
    segments = [*PLANNED, Segment(3, "hold")]
    w, velocity = network.weights["head"].detach().double().clone(), torch.zeros(3, 4).double()
    for step in range(11):
        rate = 0.25 * ready(optimizer, schedule, step, segments)
        optimizer.zero_grad(set_to_none=True)
        network.loss().backward()
        optimizer.step()
        held = momentum + (0.5 - 2 * momentum) * min(step / 8, 1)
        update = held * velocity + 2 * (w - 1)
        velocity = update if held else velocity  # PyTorch keeps none where there is no momentum
        w = w - rate * update
    torch.testing.assert_close(network.weights["head"].double(), w, rtol=1e-5, atol=1e-6)
