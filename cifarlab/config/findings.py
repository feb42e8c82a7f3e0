"""What is allowed but seldom meant: findings, and the length of the run that they are about."""

from typing import NamedTuple


class Finding(NamedTuple):
    """``what`` the recipe says, ``why`` that matters, with its source, and what to ``do``."""

    what: str
    why: str
    do: str

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  do: {self.do}"


class RunLength(NamedTuple):
    """Optimizer steps of an epoch, of the planned run, and of it with its extensions."""

    steps_per_epoch: int
    planned: int
    end: int
