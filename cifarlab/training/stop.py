"""When training ends before its planned length: early stopping, a time limit, who watches it."""

from typing import Literal

from cifarlab.training.run import Run

StopReason = Literal["planned", "early_stopping", "max_time", "stopped"]


def find_stop_reason(run: Run) -> StopReason:
    """Return what ends the run at its present state, between two epochs; ``planned``: its length.

    ``stopped``: who watches the run, such as a search, has seen enough of it.
    """
    state, early_stopping = run.state, run.recipe.training.early_stopping
    if state.step < run.plan.steps and state.epoch:
        if (
            early_stopping
            and state.monitored
            and state.epoch - state.monitored.epoch >= early_stopping.patience
        ):
            return "early_stopping"
        if out_of_time(run):
            return "max_time"
        if run.should_stop():
            return "stopped"
    return "planned"


def out_of_time(run: Run) -> bool:
    """Return whether the recipe's ``training.max_time`` is used up."""
    max_time = run.recipe.training.max_time
    return max_time is not None and run.clock.total >= max_time.seconds
