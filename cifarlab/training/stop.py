"""When training ends before its planned length: patience, budget, or whoever watches it."""

from typing import Literal

from cifarlab.training.run import Run

Ending = Literal["planned", "patience", "budget", "stopped"]


def ending(run: Run) -> Ending:
    """What ends the run at its present state, between two epochs; ``planned``: its length.

    ``stopped``: who watches the run, such as a search, has seen enough of it.
    """
    state, patience = run.state, run.recipe.training.patience
    if state.step < run.plan.steps and state.epoch:
        if patience and state.best and state.epoch - state.best.epoch >= patience:
            return "patience"
        if out_of_time(run):
            return "budget"
        if run.enough():
            return "stopped"
    return "planned"


def out_of_time(run: Run) -> bool:
    """Whether the recipe's ``training.budget`` is used up."""
    budget = run.recipe.training.budget
    return budget is not None and run.clock.total >= budget.seconds
