"""Imports point one way (docs/architecture.md): which room imports which."""

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "cifarlab"

# Which rooms each room imports, for types too; the table of docs/architecture.md says the same.
MAY_IMPORT = {
    "cifarlab_serve": "",  # beside the others, as it is also installed without them
    "system": "",
    "stats": "",
    "config": "system",
    "losses": "system config",
    "metrics": "system config cifarlab_serve",
    "augment": "system config",
    "data": "system config augment cifarlab_serve",
    "models": "system config",
    "optim": "system config metrics",
    "recipes": "system config losses metrics augment data models optim",
    "run_folder": "system config metrics recipes",
    "inference": "system config metrics data models run_folder cifarlab_serve",
    "evaluation": "system stats config metrics augment data models recipes run_folder inference",
    "training": "system config losses metrics augment data models optim recipes run_folder "
    "inference evaluation plots",
    "plots": "system stats recipes run_folder evaluation",
    "report": "system config recipes run_folder evaluation plots",
    "experiments": "system stats config metrics data recipes run_folder evaluation training "
    "plots report",
    "combining": "system stats data models optim recipes run_folder inference evaluation training "
    "experiments",
    "explain": "system augment data models recipes run_folder inference plots",
    "audit": "system config metrics augment data recipes run_folder inference evaluation "
    "experiments",
    "exporting": "system stats metrics data recipes run_folder inference evaluation report "
    "experiments",
    "dashboard": "system config data recipes run_folder inference evaluation plots report "
    "experiments explain cifarlab_serve",
    "cli": "system config data models recipes run_folder inference evaluation training "
    "report experiments combining explain audit exporting dashboard cifarlab_serve",
    "api": "system config data recipes run_folder inference evaluation training plots report "
    "experiments combining exporting",
    "__init__": "losses metrics augment data models optim recipes training experiments exporting "
    "api",
    "__main__": "cli",
}


def rooms() -> list[str]:
    modules = (p for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists())
    return sorted([*(p.stem for p in modules), "cifarlab_serve"])


def imported_rooms(file: Path) -> Iterator[str]:
    """Yield the rooms of cifarlab that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 or file.suffix == ".pyi", (
                f"{file}: relative imports hide what is imported"
            )
            names = (
                [f"cifarlab.{alias.name}" for alias in node.names]
                if node.module == "cifarlab"
                else [f"cifarlab.{node.module}" if node.level else node.module or ""]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            room = rest.partition(".")[0]
            room = top if top == "cifarlab_serve" else room
            if top.startswith("cifarlab") and room in rooms():
                yield room


def test_every_room_is_in_the_table() -> None:
    assert set(rooms()) == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_what_the_table_says(room: str) -> None:
    folder = ROOT.parent / room if room == "cifarlab_serve" else ROOT / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else sorted(ROOT.glob(f"{room}.py*"))
    imports = {(name, str(file)) for file in files for name in imported_rooms(file) if name != room}
    allowed = set(MAY_IMPORT[room].split())
    assert not {(name, file) for name, file in imports if name not in allowed}
    assert allowed == {name for name, _ in imports}, "the table allows what nothing uses"


def find_circle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Return the names along a circle of the graph, none where it has no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_is_noticed() -> None:
    assert set(find_circle({"a": ["b"], "b": ["c"], "c": ["a"]})) == {"a", "b", "c"}


def test_no_room_imports_itself_by_a_circle() -> None:
    assert not find_circle({room: names.split() for room, names in MAY_IMPORT.items()})


def test_the_document_says_the_same() -> None:
    text = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    assert dict(rows) == {
        room: ", ".join(names.split()) or "nothing of ours" for room, names in MAY_IMPORT.items()
    }


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
    assert not find_circle(graph)


@pytest.mark.parametrize(
    "module",
    [
        "cifarlab",
        "cifarlab.api.experiments",
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
