"""Lowering the rate when the validation loss has stopped falling."""

from typing import NamedTuple

from cifarlab.recipe.schedules import Plateau


class Watch(NamedTuple):
    """What a plateau schedule has seen: the least loss, epochs waited since, the rate's factor."""

    least: float | None = None
    waited: int = 0
    factor: float = 1.0


def watched(schedule: Plateau, watch: Watch, loss: float) -> Watch:
    """The watch after an epoch of that validation loss (recipe.schedules.Plateau says when)."""
    if watch.least is None or loss < (1 - schedule.threshold) * watch.least:
        return Watch(loss, 0, watch.factor)
    if watch.waited < schedule.patience:
        return watch._replace(waited=watch.waited + 1)
    return Watch(watch.least, 0, max(schedule.least, watch.factor * schedule.factor))
