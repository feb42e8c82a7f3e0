"""Imports point one way (docs/architecture.md): which part may import which."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "cifarlab"

# Each part may import those before it, as in docs/architecture.md.
ORDER = (
    "system",
    "stats",
    "config",
    "losses",
    "metrics",
    "augment",
    "data",
    "models",
    "optim",
    "recipes",
    "run_folder",
    "inference",
    "evaluation",
    "training",
    "plots",
    "report",
    "experiments",
    "explain",
    "audit",
    "dashboard",
    "cli",
    "api",
    "__init__",
    "__main__",
)


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


def test_every_part_is_in_the_order() -> None:
    assert set(parts()) == set(ORDER)


@pytest.mark.parametrize("part", ORDER)
def test_imports_point_one_way(part: str) -> None:
    folder = ROOT / part
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [ROOT / f"{part}.py"]
    before = ORDER[: ORDER.index(part) + 1]
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if name not in before
    }
    assert not wrong


def modules_imported(file: Path) -> set[str]:
    """The modules of cifarlab that a file imports when it is run, wherever in the file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    ifs = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    for_types = [node for node in ifs if ast.unparse(node.test) == "TYPE_CHECKING"]
    never_run = {id(inner) for node in for_types for inner in ast.walk(node)}
    nodes = [node for node in ast.walk(tree) if id(node) not in never_run]
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}" for node in froms for alias in node.names}
    return names | {node.module or "" for node in froms}


def test_no_module_imports_itself_by_a_circle() -> None:
    files = {
        ".".join(f.relative_to(ROOT.parent).with_suffix("").parts): f for f in ROOT.rglob("*.py")
    }
    graph = {name: modules_imported(file) & set(files) for name, file in files.items()}
    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from error


@pytest.mark.parametrize(
    "module",
    [
        "cifarlab",
        "cifarlab.cli",
        "cifarlab.config",
        "cifarlab.recipes.catalog",
        "cifarlab.run_folder",
        "cifarlab.data",
        "cifarlab.report.write",
        "cifarlab.experiments.search",
        "cifarlab.experiments.study",
        "cifarlab.dashboard.serve",
        "cifarlab.system.terminal",
    ],
)
def test_what_answers_before_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
