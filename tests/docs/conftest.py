"""The modules of benchmarks/, and runs of the reports' rows that nobody trained."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def modules():
    """The modules that train and explain the reports' rows, and write their page, by name."""
    names = ("_published", "_reports", "_planning", "reproduce", "running_statistics")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return SimpleNamespace(**{name.strip("_"): importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def docs(modules, tmp_path, monkeypatch) -> Path:
    """A docs/ of its own, in which nothing is published yet."""
    for module in vars(modules).values():
        if isinstance(module, ModuleType) and hasattr(module, "DOCS"):
            monkeypatch.setattr(module, "DOCS", tmp_path / "docs")
    (tmp_path / "docs" / "reports").mkdir(parents=True)
    (tmp_path / "docs" / "reports" / "findings.md").write_text("{asha2021/classic}\n")
    return tmp_path / "docs"


@pytest.fixture
def made_run(finished):
    """A function that makes the folder of a finished run of a recipe."""

    def make(folder: Path, recipe: str, seed: int = 0, **accuracies: float) -> Path:
        shutil.copytree(finished.path, folder)
        run = RunFolder(folder)
        run.write_recipe(change(find(recipe), {"seed": seed}))
        result = run.result() | {"data": "CIFAR-10", "recipe": recipe}
        for split, accuracy in accuracies.items():
            result[split]["metrics"]["accuracy"] = accuracy
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return make
