"""A run's length in steps and epochs, resolved from the recipe's durations once."""

from typing import NamedTuple

from cifarlab.optim.schedules import Segment
from cifarlab.recipes.schema import Training


class Epoch(NamedTuple):
    """An epoch's first step, counted from the run's start, and its number of steps."""

    first: int
    steps: int


class Plan(NamedTuple):
    """The segments of a run (the planned one, then its extensions), cut into epochs.

    Each segment starts a new epoch, so a run that was extended equals one that was planned with
    its extensions; an epoch at a segment's end may be shorter than ``steps_per_epoch``.
    """

    segments: tuple[Segment, ...]
    steps_per_epoch: int
    epochs: tuple[Epoch, ...]

    @property
    def steps(self) -> int:
        """All optimizer steps of the run (S)."""
        return sum(segment.steps for segment in self.segments)

    def segment(self, step: int) -> tuple[int, Segment]:
        """The segment that ``step`` is in, behind its first step."""
        first = 0
        for segment in self.segments:
            if step < first + segment.steps:
                return first, segment
            first += segment.steps
        raise ValueError(f"step {step} lies behind the run's {first} steps")

    def end(self, step: int) -> int:
        """The first step behind the segment that ``step`` is in."""
        first, segment = self.segment(step)
        return first + segment.steps


def plan(training: Training, steps_per_epoch: int) -> Plan:
    """Resolve the recipe's durations for epochs of this many steps."""
    segments = [Segment(max(1, training.duration.in_steps(steps_per_epoch)), "planned")]
    for extension in training.extensions:
        steps = max(1, extension.duration.in_steps(steps_per_epoch))
        segments.append(Segment(steps, extension.schedule))
    epochs, first = [], 0
    for segment in segments:
        end = first + segment.steps
        while first < end:
            steps = min(steps_per_epoch, end - first)
            epochs.append(Epoch(first, steps))
            first += steps
    return Plan(tuple(segments), steps_per_epoch, tuple(epochs))
