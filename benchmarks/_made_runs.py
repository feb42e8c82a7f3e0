"""Folders of many finished runs, made up, with the files that a training leaves."""

import json
from pathlib import Path

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint
from cifarlab.run_folder.folder import RunFolder

SEEDS, CLASSES, EPOCHS = 5, 10, 30


def make_runs(root: Path, n_runs: int) -> Path:
    """Write finished runs of recipes over 5 seeds, with the files that a training leaves."""
    line = {"loss": 1.0, "accuracy": 0.5}
    metrics = "".join(
        json.dumps({"epoch": n, "step": n, "lr": 0.1, "train": line, "val": line, "cost": {}})
        + "\n"
        for n in range(1, EPOCHS + 1)
    )
    for number in range(n_runs):
        folder = RunFolder(root / f"run-{number:04d}")
        recipe = Recipe(name=f"made/{number // SEEDS}", seed=number % SEEDS)
        recipe = change(recipe, {"optimizer.lr": 0.001 * (1 + number // SEEDS)})
        folder.write_recipe(recipe)
        opening = {"time": "2026-01-05T10:08:11Z", "opener": "train", "command": "made"}
        data = {"name": "CIFAR-10", "fingerprint": "made"}
        folder.write_provenance({"data": data, "test_openings": [opening]})
        folder.metrics.path.write_text(metrics)
        folder.write_result(result(recipe, 0.5 + 0.0001 * (number % 4000)))
    return root


def result(recipe: Recipe, accuracy: float) -> dict[str, object]:
    """Return a result as large as that of a run on ten classes."""
    per_class = [
        {"class": str(k), "n": 1000, "correct": 800, "accuracy": 0.8, "interval": [0.7, 0.9]}
        for k in range(CLASSES)
    ]
    split = {
        "n": 10_000,
        "accuracy": accuracy,
        "interval": [accuracy - 0.01, accuracy + 0.01],
        "per_class": per_class,
        "confusion_matrix": [[100] * CLASSES] * CLASSES,
    }
    return {
        "recipe": recipe.name,
        "fingerprint": fingerprint(recipe),
        "data": "CIFAR-10",
        "parameters": 4_903_242,
        "epochs": EPOCHS,
        "test": split,
        "val": split,
        "cost": {"train_seconds": 412.0},
    }
