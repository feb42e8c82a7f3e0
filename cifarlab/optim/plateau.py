"""Lowering the learning rate when the validation loss has stopped falling."""

from typing import NamedTuple

from cifarlab.optim.schedules import Plateau


class PlateauState(NamedTuple):
    """Best loss so far, epochs without a better one since, and the factor on the learning rate.

    ``last_factor`` is that of the epoch just trained, which ``factor`` may be below.
    """

    best_loss: float | None = None
    bad_epochs: int = 0
    factor: float = 1.0
    last_factor: float = 1.0


def update_plateau(schedule: Plateau, state: PlateauState, loss: float) -> PlateauState:
    """Return the state after an epoch of that validation loss (recipe.schedules.Plateau says when)."""
    factor = state.factor
    if state.best_loss is None or loss < (1 - schedule.threshold) * state.best_loss:
        return PlateauState(loss, 0, factor, factor)
    if state.bad_epochs < schedule.patience:
        return PlateauState(state.best_loss, state.bad_epochs + 1, factor, factor)
    return PlateauState(
        state.best_loss, 0, max(schedule.min_factor, factor * schedule.factor), factor
    )


def start_plateau_segment(state: PlateauState, mode: str) -> PlateauState:
    """Return the state that a segment of the run starts with; ``mode`` is Segment's.

    ``hold`` keeps the last rate: what the last epoch's loss took off it is given back.
    """
    if mode == "restart":
        return PlateauState()
    return state._replace(factor=state.last_factor) if mode == "hold" else state
