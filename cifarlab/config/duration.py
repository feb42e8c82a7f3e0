"""Durations with their unit: ``30 epochs``, ``1400 steps``, ``0.5 of the run``.

``Duration.in_steps`` is the one place where a duration becomes a number of optimizer steps.
A number without a unit is refused: nobody can tell 30 epochs from 30 steps by looking. Values
are decimal, so that what was written is what is meant, to the last digit.
"""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import core_schema

_PATTERN = re.compile(
    r"\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*(epochs?|steps?|of the run|)\s*", re.ASCII
)
_EXAMPLES = "'30 epochs', '1400 steps' or '0.5 of the run'"
_LONGEST = Decimal(10) ** 15


@dataclass(frozen=True)
class Duration:
    """An amount of training; ``unit`` is ``epochs``, ``steps`` or ``of the run``."""

    value: Decimal
    unit: str

    @classmethod
    def parse(cls, text: Any) -> "Duration":
        """Read ``30 epochs`` and the like. Raises ValueError without a unit or out of range."""
        if isinstance(text, Duration):
            return text
        match = _PATTERN.fullmatch(text if isinstance(text, str) else str(text))
        if not match:
            raise ValueError(f"{text!r} is no duration: write {_EXAMPLES}")
        value, unit = Decimal(match[1]), match[2]
        if not unit:
            raise ValueError(f"{text!r} has no unit: write {_EXAMPLES}")
        unit = unit if unit == "of the run" else unit.rstrip("s") + "s"
        if unit == "of the run" and value > 1:
            raise ValueError(f"{text!r} is more than the whole run: write a share from 0 to 1")
        if value > _LONGEST:
            raise ValueError(f"{text!r} is longer than any run")
        if unit == "steps" and value != int(value):
            raise ValueError(f"{text!r} is no whole number of steps")
        return cls(value, unit)

    def in_steps(self, steps_per_epoch: int, total_steps: int | None = None) -> int:
        """Number of optimizer steps, rounded half up, exactly.

        ``total_steps`` is the length of the run (S); only shares of the run need it. Raises
        ValueError for a share where the length itself is being resolved.
        """
        value = Fraction(self.value)
        if self.unit == "steps":
            return int(value)
        if self.unit == "epochs":
            return math.floor(value * steps_per_epoch + Fraction(1, 2))
        if total_steps is None:
            raise ValueError(f"'{self}' can't say how long the run is: write epochs or steps")
        return math.floor(value * total_steps + Fraction(1, 2))

    def __str__(self) -> str:
        number = f"{self.value:f}"
        number = number.rstrip("0").rstrip(".") if "." in number else number
        unit = self.unit.rstrip("s") if self.value == 1 else self.unit
        return f"{number} {unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


_CLOCK = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h)\s*", re.ASCII)
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True)
class WallTime:
    """An amount of time by the clock; ``unit`` is ``s``, ``min`` or ``h``."""

    value: Decimal
    unit: str

    @classmethod
    def parse(cls, text: Any) -> "WallTime":
        """Read ``90 s``, ``10 min`` or ``2 h``. Raises ValueError without a unit, or for none."""
        if isinstance(text, WallTime):
            return text
        match = _CLOCK.fullmatch(text if isinstance(text, str) else str(text))
        if not match or not Decimal(match[1]):
            raise ValueError(f"{text!r} is no time: write '90 s', '10 min' or '2 h'")
        return cls(Decimal(match[1]), match[2])

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return float(self.value * _SECONDS[self.unit])

    def __str__(self) -> str:
        number = f"{self.value:f}"
        number = number.rstrip("0").rstrip(".") if "." in number else number
        return f"{number} {self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


def _absolute(duration: Duration) -> Duration:
    if duration.unit == "of the run" or duration.value <= 0:
        raise ValueError(f"'{duration}' is no length: write epochs or steps above 0")
    return duration


Length = Annotated[Duration, AfterValidator(_absolute)]
