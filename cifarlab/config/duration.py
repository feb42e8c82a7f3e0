"""Durations with their unit: ``30 epochs``, ``1400 steps``, ``0.5 of the run``; and times.

``Duration.in_steps`` is the one place where a duration becomes a number of optimizer steps.
A number without a unit is refused: nobody can tell 30 epochs from 30 steps by looking. Values
are decimal, so that what was written is what is meant, to the last digit.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator
from pydantic_core import core_schema

from cifarlab.system.errors import UserError

_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?"
_LONGEST = Decimal(10) ** 15


@dataclass(frozen=True)
class _Amount:
    """A number and one of ``units``."""

    value: Decimal
    unit: str
    units: ClassVar[Mapping[str, str]]  # each with its word for one of it
    noun: ClassVar[str]
    examples: ClassVar[str]

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read a text such as the examples.

        Raises:
            ValueError: no number with a unit, or one out of range
        """
        if isinstance(text, cls):
            return text
        words = {word: unit for unit, singular in cls.units.items() for word in (unit, singular)}
        match = re.fullmatch(rf"\s*({_NUMBER})\s*({'|'.join(words)}|)\s*", str(text), re.ASCII)
        if not match:
            raise ValueError(f"{text!r} is no {cls.noun}: write {cls.examples}")
        if not match[2]:
            raise ValueError(f"{text!r} has no unit: write {cls.examples}")
        amount = cls(Decimal(match[1]), words[match[2]])
        if fault := amount.find_fault():
            raise ValueError(f"{text!r} is {fault}")
        return amount

    def find_fault(self) -> str:
        """Return why this amount is refused; "" where it is accepted."""
        return "longer than any run" if self.value > _LONGEST else ""

    def __str__(self) -> str:
        number = f"{self.value:f}"
        number = number.rstrip("0").rstrip(".") if "." in number else number
        return f"{number} {self.units[self.unit] if self.value == 1 else self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


class Duration(_Amount):
    """An amount of training; ``unit`` is ``epochs``, ``steps`` or ``of the run``."""

    units: ClassVar[Mapping[str, str]] = {
        "epochs": "epoch",
        "steps": "step",
        "of the run": "of the run",
    }
    noun = "duration"
    examples = "'30 epochs', '1400 steps' or '0.5 of the run'"

    def find_fault(self) -> str:
        """Return what ``_Amount.find_fault`` says."""
        if self.unit == "of the run" and self.value > 1:
            return "more than the whole run: write a fraction from 0 to 1"
        if self.unit == "steps" and self.value != int(self.value):
            return "no whole number of steps"
        return super().find_fault()

    def in_steps(self, steps_per_epoch: int, total_steps: int | None = None) -> int:
        """Return the number of optimizer steps, rounded half up, exactly.

        Args:
            steps_per_epoch: optimizer steps of one epoch
            total_steps: length of the run (S), which only fractions of the run need

        Raises:
            ValueError: a fraction of the run, without ``total_steps``
        """
        if self.unit == "steps":
            return int(self.value)
        n_steps = steps_per_epoch if self.unit == "epochs" else total_steps
        if n_steps is None:
            raise ValueError(f"'{self}' can't say how long the run is: write epochs or steps")
        return math.floor(Fraction(self.value) * n_steps + Fraction(1, 2))


class WallTime(_Amount):
    """An amount of time by the clock; ``unit`` is ``s``, ``min`` or ``h``."""

    units: ClassVar[Mapping[str, str]] = {"s": "s", "min": "min", "h": "h"}
    noun = "time"
    examples = "'90 s', '10 min' or '2 h'"

    def find_fault(self) -> str:
        """Return what ``_Amount.find_fault`` says."""
        return super().find_fault() if self.value else "no time: write '90 s', '10 min' or '2 h'"

    @property
    def seconds(self) -> float:
        """Return the same in seconds."""
        return float(self.value * {"s": 1, "min": 60, "h": 3600}[self.unit])


def parse_time_option(option: str, value: WallTime | str | None) -> WallTime | None:
    """Return the time that an option of a command line or a call gives; None without one.

    Args:
        option: its name
        value: its value

    Raises:
        UserError: the text is no time
    """
    try:
        return None if value is None else WallTime.parse(value)
    except ValueError as error:
        raise UserError(f"{option}: {error}", f"write e.g. {option} '2 h'") from error


def _absolute(duration: Duration) -> Duration:
    if duration.unit == "of the run" or duration.value <= 0:
        raise ValueError(f"'{duration}' is no length: write epochs or steps above 0")
    return duration


Length = Annotated[Duration, AfterValidator(_absolute)]
