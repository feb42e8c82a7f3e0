"""Frozen stages stand still from their step on, save the passes back, and survive a resume."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_runs import PLAIN_CNN, prepare_run
from torch import Tensor

from cifarlab.models.network import stages
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RecipeError
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.step import set_step
from cifarlab.training.train import train

FREEZE = [{"start": "4 steps", "stages": 1}, {"start": "6 steps", "stages": 2}]
CHANGES = {**PLAIN_CNN, "training.duration": "9 steps", "training.freeze": FREEZE}


class Spy(Callback):
    """Each stage's weights before the first step and after each, and which have gradients."""

    def __init__(self) -> None:
        self.weights: list[list[Tensor]] = []
        self.has_gradient: list[list[bool]] = []

    def look(self, run: Run) -> None:
        parts = stages(run.state.classifier)
        self.weights.append([torch.cat([p.detach().flatten() for p in part]) for part in parts])
        self.has_gradient.append([any(p.grad is not None for p in part) for part in parts])

    def on_train_start(self, run: Run) -> None:
        self.look(run)

    def on_step_end(self, run: Run, images: int) -> None:
        self.look(run)


def test_a_stage_is_trained_until_its_step_and_not_after(tmp_path: Path, tiny: Callable) -> None:
    spy = Spy()
    train(tiny(CHANGES), RunFolder(tmp_path / "run"), callbacks=[spy])
    for stage, start in ((0, 4), (1, 6)):
        for step in range(9):
            before, after = spy.weights[step][stage], spy.weights[step + 1][stage]
            assert torch.equal(before, after) == (step >= start)
            assert spy.has_gradient[step + 1][stage] == (step < start)


def test_until_then_it_trains_as_without(tmp_path: Path, tiny: Callable) -> None:
    frozen, reference = Spy(), Spy()
    train(tiny(CHANGES), RunFolder(tmp_path / "frozen"), callbacks=[frozen])
    train(
        tiny({**CHANGES, "training.freeze": []}),
        RunFolder(tmp_path / "reference"),
        callbacks=[reference],
    )
    for step in range(10):
        equal = [
            torch.equal(a, b)
            for a, b in zip(frozen.weights[step], reference.weights[step], strict=True)
        ]
        assert all(equal) == (step <= 4)


def test_going_back_to_an_earlier_step_thaws(tmp_path: Path, tiny: Callable) -> None:
    # compilation ahead looks at all kinds of steps and then goes back to the first
    run = prepare_run(tiny(CHANGES), tmp_path / "run")
    before = [p.requires_grad for p in run.state.classifier.parameters()]
    for step, expected in ((8, [False, False]), (5, [False, True]), (0, [True, True])):
        set_step(run, step)
        flags = [all(p.requires_grad for p in part) for part in stages(run.state.classifier)]
        assert flags == expected
    assert [p.requires_grad for p in run.state.classifier.parameters()] == before


def test_more_stages_than_there_are_is_refused(tmp_path: Path, tiny: Callable) -> None:
    recipe = change(tiny(PLAIN_CNN), {"training.freeze": [{"start": "1 epoch", "stages": 3}]})
    with pytest.raises(RecipeError, match=r"freeze\.0\.stages=3: this network has 2"):
        prepare_run(recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("start", "stages"), [("6 steps", 1), ("6 steps", 2), ("5 steps", 2), ("3 steps", 1)]
)
def test_what_is_frozen_already_is_refused(
    tmp_path: Path, tiny: Callable, start: str, stages: int
) -> None:
    first = {"start": "5 steps", "stages": 1 if start == "5 steps" else 2}
    freeze = [first, {"start": start, "stages": stages}]
    with pytest.raises(
        RecipeError, match=r"training\.freeze\.1: . stages from '. steps' on are not"
    ):
        prepare_run(tiny({**PLAIN_CNN, "training.freeze": freeze}), tmp_path / "run")
