"""Imports point one way (docs/architecture.md): which part may import which."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "cifarlab"

BASE = {"errors", "storage"}
MAY_IMPORT = {
    "errors": set(),
    "interrupt": set(),
    "storage": {"errors"},
    "output": set(),
    "randomness": set(),
    "compute": {"errors"},
    "processes": {"errors", "compute"},
    "threads": {"errors"},
    "recipe": BASE,
    "recipes": BASE | {"recipe"},
    "run": BASE | {"recipe"},
    "data": BASE | {"recipe", "randomness"},
    "models": BASE | {"recipe", "compute", "processes"},
    "optim": BASE | {"recipe"},
    "evaluate": BASE | {"recipe", "run", "randomness", "compute", "data", "models"},
    "train": BASE
    | {"recipe", "recipes", "run", "randomness", "compute", "processes", "threads", "interrupt"}
    | {"data", "models", "optim", "evaluate", "terminal"},
    "report": BASE | {"recipe", "run"},
    "explain": BASE
    | {"recipe", "recipes", "run", "randomness", "compute", "data", "models"}
    | {"evaluate", "report", "ship"},
    "audit": BASE | {"recipe", "recipes", "run", "compute", "data", "evaluate", "train"},
    "ship": BASE | {"recipe", "run", "data", "evaluate"},
    "study": BASE | {"recipe", "recipes", "run", "threads", "data", "train", "report", "interrupt"},
    "search": BASE
    | {"recipe", "recipes", "run", "randomness", "threads", "data", "train", "report", "study"}
    | {"interrupt"},
    "page": BASE
    | {"recipe", "run", "data", "evaluate", "report", "study", "explain", "search", "ship"},
    "machine": {"compute", "data"},
    "terminal": {"recipe", "data", "output"},
}
MAY_IMPORT["cli"] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["__init__"] = set()


def parts() -> list[str]:
    return sorted(
        p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    )


def imported(file: Path) -> Iterator[str]:
    """The parts of cifarlab that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide what is imported"
            names = (
                [f"cifarlab.{alias.name}" for alias in node.names]
                if node.module == "cifarlab"
                else [node.module or ""]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            part = rest.partition(".")[0]
            if top == "cifarlab" and part in parts():
                yield part


def test_every_part_has_its_rule() -> None:
    assert set(parts()) == set(MAY_IMPORT)


@pytest.mark.parametrize("part", parts())
def test_imports_point_one_way(part: str) -> None:
    folder = ROOT / part
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [ROOT / f"{part}.py"]
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if name not in MAY_IMPORT[part] | {part}
    }
    assert not wrong


def test_the_rules_have_no_cycle() -> None:
    done: set[str] = set()
    while ready := {p for p, needs in MAY_IMPORT.items() if p not in done and needs - {p} <= done}:
        done |= ready
        if done >= set(MAY_IMPORT) - {"cli", "__main__"}:
            return
    raise AssertionError(f"a cycle among {set(MAY_IMPORT) - done}")


@pytest.mark.parametrize(
    "module",
    [
        "cifarlab",
        "cifarlab.cli",
        "cifarlab.recipe",
        "cifarlab.recipes",
        "cifarlab.run",
        "cifarlab.data",
        "cifarlab.report",
        "cifarlab.search",
        "cifarlab.study",
        "cifarlab.page",
        "cifarlab.terminal",
    ],
)
def test_what_answers_before_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
