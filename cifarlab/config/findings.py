"""What is allowed but seldom meant: findings, and the length of the run that they are about."""

from typing import NamedTuple


class Finding(NamedTuple):
    """``what`` the recipe says, the ``reason`` why it matters, with its source, and a ``hint``."""

    what: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.reason}\n  do: {self.hint}"


class RunLength(NamedTuple):
    """Optimizer steps of an epoch, of the planned run, and of that with its extensions."""

    steps_per_epoch: int
    planned_steps: int
    total_steps: int
