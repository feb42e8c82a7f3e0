"""A user's own loss, sampler and metric go through a run as ours do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_plugin import NAMED

from cifarlab.evaluation.run_evaluation import evaluate_run
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, RecipeError
from cifarlab.training.train import train

OWN = {
    "loss": {"kind": "made-hinge", "margin": 2.0},
    "data.sampler.kind": "made-every-other",
    "evaluation.metric": "made-rarest",
    "evaluation.checkpoint": "best",
    "training.early_stopping": {"patience": 2, "monitor": "made-rarest"},
    "training.selective_backprop.keep": 0.5,
    "training.duration": "9 epochs",
    **NAMED,
}


def test_they_train_on_the_digits(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    folder = RunFolder(tmp_path / "run")
    result = train(tiny(OWN), folder)
    rates = [line["val"]["made-rarest"] for line in folder.metrics.read()]
    assert result["best"] == {
        "epoch": rates.index(min(rates)) + 1,
        "metric": "made-rarest",
        "value": min(rates),
    }
    assert result["val"]["metrics"]["made-rarest"] == min(rates)
    assert evaluate_run(folder, "val")[0] == result["val"]


def test_resumed_they_give_the_same_bits(
    tmp_path: Path, tiny: Callable[..., Recipe], end_of: Callable, signal_after: Callable
) -> None:
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    train(tiny(OWN), whole)
    with pytest.raises(Interrupted):
        train(tiny(OWN), cut, callbacks=[signal_after(14)])
    train(tiny(OWN), cut, resume=True)
    assert end_of(cut) == end_of(whole)


def test_without_the_plugin_they_are_unknown(tiny: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"loss\.kind can't be 'made-hinge'"):
        tiny({"loss.kind": "made-hinge"})
