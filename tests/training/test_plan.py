"""A run's length: durations resolved to steps once, cut into epochs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifarlab.recipes.schema import Training
from cifarlab.training.plan import Epoch, Plan, plan


def made(duration: str, *extensions: str, steps_per_epoch: int = 10) -> Plan:
    longer = [{"duration": text, "schedule": "hold"} for text in extensions]
    training = Training.model_validate({"duration": duration, "extensions": longer})
    return plan(training, steps_per_epoch)


def test_whole_epochs() -> None:
    assert made("3 epochs").epochs == (Epoch(0, 10), Epoch(10, 10), Epoch(20, 10))


@pytest.mark.parametrize(
    ("duration", "lengths"),
    [
        ("25 steps", [10, 10, 5]),
        ("7 steps", [7]),
        ("2.5 epochs", [10, 10, 5]),
        ("1 step", [1]),
        ("0.01 epochs", [1]),  # never no step at all
    ],
)
def test_the_last_epoch_may_be_short(duration: str, lengths: list[int]) -> None:
    cut = made(duration)
    assert [epoch.steps for epoch in cut.epochs] == lengths
    assert cut.steps == sum(lengths)


def test_an_extension_starts_a_new_epoch() -> None:
    cut = made("15 steps", "1 epoch", "3 steps")
    assert cut.epochs == (Epoch(0, 10), Epoch(10, 5), Epoch(15, 10), Epoch(25, 3))
    assert [segment.steps for segment in cut.segments] == [15, 10, 3]
    assert [segment.mode for segment in cut.segments] == ["planned", "hold", "hold"]


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.integers(1, 20),
)
def test_epochs_cover_each_step_once(lengths: list[int], steps_per_epoch: int) -> None:
    texts = [f"{length} steps" for length in lengths]
    cut = made(*texts, steps_per_epoch=steps_per_epoch)
    covered = [step for first, steps in cut.epochs for step in range(first, first + steps)]
    assert covered == list(range(sum(lengths))) == list(range(cut.steps))
    assert all(0 < steps <= steps_per_epoch for _, steps in cut.epochs)


def test_an_extended_plan_begins_with_the_planned_one() -> None:
    assert made("15 steps", "1 epoch").epochs[:2] == made("15 steps").epochs
