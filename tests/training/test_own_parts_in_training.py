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

OWN_PARTS = {
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
    result = train(tiny(OWN_PARTS), folder)
    values = [line["val"]["made-rarest"] for line in folder.metrics.read()]
    assert result["best"] == {
        "epoch": values.index(min(values)) + 1,
        "metric": "made-rarest",
        "value": min(values),
    }
    assert result["val"]["metrics"]["made-rarest"] == min(values)
    assert evaluate_run(folder, "val")[0] == result["val"]


def test_resumed_they_give_the_same_bits(
    tmp_path: Path, tiny: Callable[..., Recipe], end_of: Callable, signal_after: Callable
) -> None:
    uninterrupted, resumed = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    train(tiny(OWN_PARTS), uninterrupted)
    with pytest.raises(Interrupted):
        train(tiny(OWN_PARTS), resumed, callbacks=[signal_after(14)])
    train(tiny(OWN_PARTS), resumed, resume=True)
    assert end_of(resumed) == end_of(uninterrupted)


def test_without_the_plugin_they_are_unknown(tiny: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"loss\.kind can't be 'made-hinge'"):
        tiny({"loss.kind": "made-hinge"})
