"""Lowering the rate when the validation loss has stopped falling."""

from typing import NamedTuple

from cifarlab.optim.schedules import Plateau


class Watch(NamedTuple):
    """What a plateau schedule has seen: the least loss, epochs waited since, the rate's factor.

    ``last_factor`` is that of the epoch just trained, which ``factor`` may be below.
    """

    least: float | None = None
    waited: int = 0
    factor: float = 1.0
    last_factor: float = 1.0


def watched(schedule: Plateau, watch: Watch, loss: float) -> Watch:
    """The watch after an epoch of that validation loss (recipe.schedules.Plateau says when)."""
    factor = watch.factor
    if watch.least is None or loss < (1 - schedule.threshold) * watch.least:
        return Watch(loss, 0, factor, factor)
    if watch.waited < schedule.patience:
        return Watch(watch.least, watch.waited + 1, factor, factor)
    return Watch(watch.least, 0, max(schedule.least, factor * schedule.factor), factor)


def start_segment(watch: Watch, how: str) -> Watch:
    """Return the watch that a segment of the run starts with; ``how`` is Segment's.

    ``hold`` keeps the last rate: what the last epoch's loss took off it is given back.
    """
    if how == "restart":
        return Watch()
    return watch._replace(factor=watch.last_factor) if how == "hold" else watch
