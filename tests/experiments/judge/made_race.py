"""A recipe that trains in a moment, and races of it without the command line."""

from pathlib import Path
from typing import Any

from cifarlab.experiments.judge.engine import Judgement, run_judge
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change

POOR = "optimizer.lr=0.0001"
FAST = {
    "name": "fast",
    "training.duration": "2 epochs",
    "training.precision": "float32",
    "training.batch_size": 256,
    "model.stem_width": 4,
    "model.channels": [4, 8, 8],
    "evaluation.test": False,
}


def fast(**changes: Any) -> Recipe:
    """Return the recipe with changes, ``__`` for a dot."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return change(find("quickstart"), {**FAST, **named})


def poor() -> Recipe:
    """Return the recipe with a learning rate that is far too low."""
    return fast(optimizer__lr=0.0001)


def race(path: Path, candidate: Recipe, incumbent: Recipe | str, **options: Any) -> Judgement:
    """Judge in a folder of runs, in silence."""
    return run_judge(candidate, incumbent, runs=path, **{"log": lambda _: None, **options})
