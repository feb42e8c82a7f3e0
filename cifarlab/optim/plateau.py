"""Lowering the learning rate when a metric of the validation images has stopped improving."""

from typing import NamedTuple

from cifarlab.optim.schedules import Plateau


class PlateauState(NamedTuple):
    """Best value so far, epochs without a better one since, and the factor on the learning rate.

    ``last_factor`` is that of the epoch just trained, which ``factor`` may be below.
    """

    best: float | None = None
    bad_epochs: int = 0
    factor: float = 1.0
    last_factor: float = 1.0


def update_plateau(schedule: Plateau, state: PlateauState, value: float) -> PlateauState:
    """Return the state after an epoch of that value of the monitor (schedules.Plateau says when)."""
    factor, sign = state.factor, 1 if schedule.monitor.higher_is_better else -1
    needed = None if state.best is None else (1 + sign * schedule.threshold) * state.best
    if schedule.monitor.is_better(value, needed):
        return PlateauState(value, 0, factor, factor)
    if state.bad_epochs < schedule.patience:
        return PlateauState(state.best, state.bad_epochs + 1, factor, factor)
    return PlateauState(state.best, 0, max(schedule.min_factor, factor * schedule.factor), factor)


def start_plateau_segment(state: PlateauState, mode: str) -> PlateauState:
    """Return the state that a segment of the run starts with; ``mode`` is Segment's.

    ``hold`` keeps the last rate: what the last epoch's value took off it is given back.
    """
    if mode == "restart":
        return PlateauState()
    return state._replace(factor=state.last_factor) if mode == "hold" else state
