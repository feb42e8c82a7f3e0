"""Durations: what is read, how it is written again, and how many steps it is."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cifarlab.config.duration import Duration

READ = [
    ("30 epochs", 30, "epochs", "30 epochs"),
    ("1 epoch", 1, "epochs", "1 epoch"),
    ("1 epochs", 1, "epochs", "1 epoch"),
    ("30 epoch", 30, "epochs", "30 epochs"),
    ("30epochs", 30, "epochs", "30 epochs"),
    ("  30   epochs ", 30, "epochs", "30 epochs"),
    ("2.50 epochs", 2.5, "epochs", "2.5 epochs"),
    ("1e-2 epochs", 0.01, "epochs", "0.01 epochs"),
    ("1400 steps", 1400, "steps", "1400 steps"),
    ("1.4e3 steps", 1400, "steps", "1400 steps"),
    ("1 step", 1, "steps", "1 step"),
    ("0 steps", 0, "steps", "0 steps"),
    ("0.5 of the run", 0.5, "of the run", "0.5 of the run"),
    ("0 of the run", 0, "of the run", "0 of the run"),
    ("1.0 of the run", 1, "of the run", "1 of the run"),
]


@pytest.mark.parametrize(("text", "value", "unit", "canonical"), READ)
def test_units_and_canonical_form(text, value, unit, canonical):
    duration = Duration.parse(text)
    assert (duration.value, duration.unit) == (Decimal(str(value)), unit)
    assert str(duration) == canonical
    assert Duration.parse(canonical) == duration


def test_a_duration_is_itself():
    duration = Duration(3, "epochs")
    assert Duration.parse(duration) is duration


@pytest.mark.parametrize("number", ["30", "0.5", " 30 ", 30, 0.5, 0])
def test_a_bare_number_has_no_unit(number):
    with pytest.raises(ValueError, match="has no unit: write '30 epochs'"):
        Duration.parse(number)


NONE = "|epochs|-1 epochs|+1 epochs|30 epochss|3 Epochs|50 %|0.5 of run|nan epochs|inf steps"
MORE = "1,000 steps|1_000 steps|٣ epochs|1 2 steps|0x3 steps"


@pytest.mark.parametrize(
    "text", [*NONE.split("|"), *MORE.split("|"), None, True, [], ["3 epochs"], {"epochs": 3}]
)
def test_everything_else_is_no_duration(text):
    with pytest.raises(ValueError, match="is no duration: write"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.0001 of the run", "more than the whole run"),
        ("2 of the run", "more than the whole run"),
        ("1.5 steps", "no whole number of steps"),
    ],
)
def test_out_of_range(text, message):
    with pytest.raises(ValueError, match=message):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["1e309 steps", "1e400 epochs"])
def test_more_than_a_float_holds_is_refused(text):
    with pytest.raises(ValueError, match="1e"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "per_epoch", "total", "steps"),
    [
        ("7 steps", 100, None, 7),
        ("3 epochs", 352, None, 1056),
        ("0.5 epochs", 3, None, 2),
        ("0.49 epochs", 3, None, 1),
        ("0.1 epochs", 4, None, 0),
        ("0.5 of the run", 352, 10, 5),
        ("0.5 of the run", 352, 11, 6),
        ("0.25 of the run", 352, 9, 2),
        ("1 of the run", 352, 10560, 10560),
        ("0 of the run", 352, 10560, 0),
    ],
)
def test_in_steps(text, per_epoch, total, steps):
    assert Duration.parse(text).in_steps(per_epoch, total) == steps


def round_half_up(fraction: Fraction, steps: int) -> int:
    return math.floor(fraction * steps + Fraction(1, 2))


@given(thousandths=st.integers(0, 1000), steps=st.integers(1, 20_000))
@example(thousandths=145, steps=100)
@example(thousandths=285, steps=100)
def test_rounding_is_exact_for_what_was_written(thousandths, steps):
    # 0.145 of 100 steps is 14.5, whatever the float nearest to 0.145 times 100 says
    duration = Duration.parse(f"{thousandths / 1000:g} of the run")
    assert duration.in_steps(7, steps) == round_half_up(Fraction(thousandths, 1000), steps)


@given(thousandths=st.integers(0, 10**6), per_epoch=st.integers(1, 400))
@example(thousandths=1005, per_epoch=100)
def test_epochs_round_exactly_too(thousandths, per_epoch):
    duration = Duration.parse(f"{thousandths / 1000} epochs")
    assert duration.in_steps(per_epoch) == round_half_up(Fraction(thousandths, 1000), per_epoch)


def test_the_length_itself_can_not_be_a_fraction():
    with pytest.raises(ValueError, match="can't say how long the run is"):
        Duration.parse("0.5 of the run").in_steps(100)


@pytest.mark.parametrize(
    "text", ["0.3333333333333333 of the run", "0.4999999999999 epochs", "1000000000001 steps"]
)
def test_the_canonical_form_loses_no_digit(text):
    # else recipe.yaml holds another recipe than the run had, and both have one fingerprint
    duration = Duration.parse(text)
    assert Duration.parse(str(duration)) == duration
