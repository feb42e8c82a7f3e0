"""Golden runs: the loss curves of short runs, committed, so that no change slips in unseen.

After a change that is meant to alter them, ``python tests/golden/test_loss_curves.py`` writes them
anew, or just those that are named behind it; the diff then shows by how much. The tolerance
allows for other processors' rounding.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.training.train import train

FOLDER = Path(__file__).parent
SYNTHETIC = "made images"  # a source that ``train_curve`` makes: 32 x 32, RGB, 8 classes
SETTINGS = {"training.precision": "float32", "training.batch_size": 432, "data.source": "digits"}
SETTINGS |= {"training.duration": "4 epochs", "optimizer.lr": 0.02}  # small: rounding stays small
SETTINGS |= {"data.val_fraction": 0.1}


def build_speed94() -> Recipe:
    """The shipped recipe in six epochs of one step, each of two passes of 32 images."""
    recipe, batch = find("speed/94"), 64
    changes: dict[str, object] = {
        "data.source": SYNTHETIC,
        "data.val_fraction": 0.2,
        "training.precision": "float32",
        "training.duration": "6 steps",
        "training.batch_size": batch,
        "training.micro_batch_size": 32,
    }
    smaller = batch / recipe.training.batch_size  # a smaller batch bears smaller steps
    for name in ("aux_sgd", "norms", "biases", "head", "whitening"):
        part = getattr(recipe.optimizer, name, None)
        if part is not None and part.lr is not None:
            changes[f"optimizer.{name}.lr"] = part.lr * smaller
    return change(recipe, changes)


RECIPES = {
    "quickstart": change(find("quickstart"), SETTINGS),
    "tutorial-cnn": change(find("kth2024/dropout"), SETTINGS),
    "classic-adamw": change(
        find("asha2021/classic"),
        SETTINGS
        | {
            "optimizer.kind": "adamw",
            "optimizer.lr": 0.002,
            "training.clip_grad_norm": 1.0,
            "model.padding": "same",  # the digits are too small for the recipe's
            "schedule.kind": "cosine",
        },
    ),
    "nyu2024": change(
        find("nyu2024/resnet"),
        SETTINGS
        | {
            "model.channels": [8, 8, 8, 8],
            "augment.crop.padding_mode": "reflect",
            "optimizer.lr": 0.002,
        },
    ),
    "speed-94": build_speed94(),
}


def write_images(folder: Path) -> Path:
    """Noisy stripes, of another direction, width and colour in each class."""
    draws, grid = np.random.default_rng(0), np.arange(32)
    for number in range(8):
        waves = np.sin((grid * (1 + number % 3))[:, None] / 3 + (number % 4) * grid / 4)
        color = np.array([number & 1, number >> 1 & 1, number >> 2]) * 80 + 40
        for split, count in (("train", 10), ("test", 1)):
            path = folder / split / str(number)
            path.mkdir(parents=True)
            for index in range(count):
                noise = draws.integers(0, 100, (32, 32, 3))
                pixels = color + noise + (waves * draws.integers(5, 35)).astype(int)[..., None]
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(path / f"{index}.png")
    return folder


def train_curve(recipe: Recipe, folder: Path) -> list[dict]:
    if str(recipe.data.source) == SYNTHETIC:
        images = write_images(folder.parent / "images")
        recipe = change(recipe, {"data.source": str(images)})
    train(recipe, RunFolder(folder))
    return [without_cost(line) for line in RunFolder(folder).metrics.read()]


@pytest.mark.parametrize("name", RECIPES)
def test_the_curve_is_the_committed_one(name: str, tmp_path: Path) -> None:
    committed = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    curve = train_curve(RECIPES[name], tmp_path / "run")
    assert len(curve) == len(committed) == (6 if name == "speed-94" else 4)
    for line, reference in zip(curve, committed, strict=True):
        assert line["train"]["loss"] == pytest.approx(reference["train"]["loss"], rel=2e-3)
        assert line["val"]["loss"] == pytest.approx(reference["val"]["loss"], rel=2e-3)
        assert line["train"]["accuracy"] == pytest.approx(reference["train"]["accuracy"], abs=0.01)
        assert line["lr"] == pytest.approx(reference["lr"], rel=1e-12)


if __name__ == "__main__":
    for name in sys.argv[1:] or RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps(train_curve(RECIPES[name], Path(folder) / "run"), indent=1)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
