"""Golden runs: the loss curves of short runs, committed, so that no change slips in unseen.

After a change that is meant to alter them, ``python tests/golden/test_curves.py`` writes them
anew; the diff then shows by how much. The tolerance allows for other processors' rounding.
"""

import json
import tempfile
from pathlib import Path

import pytest

from cifarlab.recipe import Recipe, change
from cifarlab.recipes import find
from cifarlab.run import RunFolder, without_cost
from cifarlab.train import train

HERE = Path(__file__).parent
SHORT = {"training.precision": "float32", "training.batch_size": 432, "data.source": "digits"}
SHORT |= {"training.duration": "4 epochs", "optimizer.rate": 0.02}  # small: rounding stays small
RECIPES = {
    "quickstart": change(find("quickstart"), SHORT),
    "tutorial-cnn": change(find("kth2024/dropout"), SHORT),
    "classic-adamw": change(
        find("asha2021/classic"),
        SHORT
        | {
            "optimizer.kind": "adamw",
            "optimizer.rate": 0.002,
            "training.clip_norm": 1.0,
            "schedule.kind": "cosine",
        },
    ),
    "nyu2024": change(
        find("nyu2024/resnet"),
        SHORT
        | {
            "model.channels": [8, 8, 8, 8],
            "augment.crop.mode": "reflect",
            "optimizer.rate": 0.002,
        },
    ),
}


def curve(recipe: Recipe, folder: Path) -> list[object]:
    train(recipe, RunFolder(folder))
    return [without_cost(line) for line in RunFolder(folder).journal.read()]


@pytest.mark.parametrize("name", RECIPES)
def test_the_curve_is_the_committed_one(name: str, tmp_path: Path) -> None:
    committed = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    measured = curve(RECIPES[name], tmp_path / "run")
    assert len(measured) == len(committed) == 4
    for now, then in zip(measured, committed, strict=True):
        assert now["train"]["loss"] == pytest.approx(then["train"]["loss"], rel=2e-3)
        assert now["val"]["loss"] == pytest.approx(then["val"]["loss"], rel=2e-3)
        assert now["train"]["accuracy"] == pytest.approx(then["train"]["accuracy"], abs=0.01)
        assert now["rate"] == pytest.approx(then["rate"], rel=1e-12)


if __name__ == "__main__":
    for name, recipe in RECIPES.items():
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps(curve(recipe, Path(folder) / "run"), indent=1)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
