"""Three seeds of a tiny run, and copies of one that went on: what can be combined."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cifarlab.config.duration import Duration
from cifarlab.recipes.schema import Extension, Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.extend import extend_run
from cifarlab.training.train import train


@pytest.fixture(scope="session")
def seeds(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs of three seeds, whose test split is closed. Read them, never write to them."""
    folder = tmp_path_factory.mktemp("seeds")
    paths = [folder / f"s{seed}" for seed in range(3)]
    for seed, path in enumerate(paths):
        train(tiny({"seed": seed, "evaluation.test": False}), path, callbacks=())
    return paths


@pytest.fixture(scope="session")
def siblings(seeds: list[Path]) -> list[Path]:
    """Two runs that went on from one checkpoint, at another learning rate each."""
    paths = []
    for schedule in ("hold", "restart"):
        extension = Extension(duration=Duration.parse("1 epoch"), schedule=schedule)
        recipe, folder = extend_run(RunFolder(seeds[0]), extension)
        train(recipe, folder, resume=True, callbacks=())
        paths.append(folder.path)
    return paths
