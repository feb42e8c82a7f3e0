"""Training beyond the planned end: the rate holds, restarts or stretches, from the exact step."""

import pytest

from cifarlab.optim.schedules import Segment, lr_factor
from cifarlab.recipes.text import build

PER_EPOCH = 4
CONFIGS = {
    "constant": {"kind": "constant", "warmup": "2 steps"},
    "multistep": {"kind": "multistep", "warmup": "1 step", "gamma": 0.5},
    "exponential": {"kind": "exponential", "gamma": 0.5},
    "cosine": {"kind": "cosine", "warmup": "0.25 of the run", "end_factor": 0.1},
    "linear": {"kind": "linear", "warmup": "2 steps", "end_factor": 0.2},
}
every_kind = pytest.mark.parametrize("kind", CONFIGS)


def factors(kind, *segments):
    config = build({"schedule": CONFIGS[kind]}).schedule
    parts = [Segment(*s) for s in segments]
    total = sum(p.steps for p in parts)
    return [lr_factor(config, step, parts, PER_EPOCH) for step in range(total)]


def planned_factors(kind, steps):
    return factors(kind, (steps, "planned"))


@every_kind
@pytest.mark.parametrize("mode", ["hold", "restart", "stretch"])
def test_an_extension_leaves_what_was_planned_as_it_was(kind, mode):
    assert factors(kind, (8, "planned"), (5, mode))[:8] == planned_factors(kind, 8)


@every_kind
def test_hold_keeps_the_last_factor(kind):
    assert factors(kind, (8, "planned"), (5, "hold"))[8:] == [planned_factors(kind, 8)[-1]] * 5


@every_kind
@pytest.mark.parametrize("steps", [3, 8, 20])
def test_restart_runs_the_schedule_once_more_over_its_own_length(kind, steps):
    assert factors(kind, (8, "planned"), (steps, "restart"))[8:] == planned_factors(kind, steps)


@every_kind
@pytest.mark.parametrize("steps", [1, 8, 20])
def test_stretch_goes_on_as_if_planned_that_long(kind, steps):
    got = factors(kind, (8, "planned"), (steps, "stretch"))
    assert got[8:] == planned_factors(kind, 8 + steps)[8:]


@every_kind
def test_several_extensions_in_a_row(kind):
    parts = [(8, "planned"), (4, "restart"), (3, "hold"), (2, "hold"), (8, "stretch"), (1, "hold")]
    got = factors(kind, *parts)
    restart = planned_factors(kind, 4)
    assert got[8:12] == restart
    assert got[12:17] == [restart[-1]] * 5
    assert got[17:25] == planned_factors(kind, 25)[17:]
    assert got[25] == got[24]


def test_a_stretch_applies_fractions_of_the_run_to_the_total_length():
    # milestones at 0.5 and 0.75 of 16 steps, not of the 8 that were planned first
    got = factors("multistep", (8, "planned"), (8, "stretch"))
    assert got[8:] == [0.5] * 4 + [0.25] * 4


@pytest.mark.parametrize("step", [8, 9, 100])
def test_behind_the_last_step_there_is_no_factor(step):
    config = build({"schedule": {"kind": "constant"}}).schedule
    with pytest.raises(ValueError, match=f"step {step} lies behind the run's 8 steps"):
        lr_factor(config, step, [Segment(5, "planned"), Segment(3, "hold")], PER_EPOCH)
