"""What the project's files say of it: versions, extras, requirements, the jobs of forges."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cifarlab

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
# a requirement's own parts, imported by the names that its makers gave them
PARTS = {"pydantic_core": "pydantic", "markupsafe": "jinja2", "starlette": "fastapi"}
# which of our files may import what only an extra brings
FILES_OF_EXTRAS = {
    "notebook": ["cifarlab/api", "cifarlab/experiments/removal_table.py"],
    "explain": ["cifarlab/explain"],
    "audit": ["cifarlab/audit"],
    "search": ["cifarlab/experiments/search"],
    "cluster": ["cifarlab/experiments/cluster.py"],
    "dashboard": ["cifarlab/dashboard"],
    "export": ["cifarlab/exporting"],
    "serve": ["cifarlab_serve"],
    **{
        name: [f"cifarlab/training/loggers/{name}.py"]
        for name in ("mlflow", "tensorboard", "trackio", "wandb")
    },
}
# imported by another package: by torch.onnx, fastapi, torch.utils.tensorboard
NEVER_IMPORTED = {"onnxscript", "python-multipart", "tensorboard"}


def names(requirements: list[str]) -> set[str]:
    """The distributions that these requirements name."""
    return {canonicalize_name(Requirement(each).name) for each in requirements}


@cache
def distribution(module: str) -> str:
    """The distribution of a module at the top; of several, the whole has the shorter name."""
    distributions = packages_distributions().get(module, [module])
    return canonicalize_name(PARTS.get(module, min(distributions, key=len)))


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield each distribution that a file imports, and whether as soon as it is imported itself."""
    nodes: list[tuple[ast.AST, bool]] = [(ast.parse(file.read_text("utf-8")), True)]
    while nodes:
        node, at_once = nodes.pop()
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        at_once = at_once and not (isinstance(node, ast.FunctionDef) or for_types)
        nodes += [(child, at_once) for child in ast.iter_child_nodes(node)]
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for top in {module.partition(".")[0] for module in modules}:
            if top not in sys.stdlib_module_names and not top.startswith("cifarlab"):
                yield distribution(top), at_once


def files(*paths: str) -> list[Path]:
    """The files of ours at these paths."""
    roots = [ROOT / path for path in paths]
    return [file for path in roots for file in (path.rglob("*.py") if path.is_dir() else [path])]


def test_what_is_imported_is_required() -> None:
    core, missing = names(PROJECT["dependencies"]), []
    ours = {
        file: names(EXTRAS[extra])
        for extra, paths in FILES_OF_EXTRAS.items()
        for file in files(*paths)
    }
    for file in files("cifarlab", "cifarlab_serve"):
        allowed = core | ours.get(file, set())
        missing += [(str(file), name) for name, _ in imports(file) if name not in allowed]
    assert not missing


def test_what_is_required_is_imported() -> None:
    everywhere = {name for file in files("cifarlab", "cifarlab_serve") for name, _ in imports(file)}
    assert names(PROJECT["dependencies"]) <= everywhere
    for extra, paths in FILES_OF_EXTRAS.items():
        used = {name for file in files(*paths) for name, _ in imports(file)}
        assert names(EXTRAS[extra]) - used - NEVER_IMPORTED <= {"cifarlab"}, extra


def test_what_an_extra_brings_is_imported_where_it_is_used() -> None:
    core = names(PROJECT["dependencies"])
    at_once = {
        (file.relative_to(ROOT).parts[:2], name)
        for file in files("cifarlab")
        for name, at_once in imports(file)
        if at_once and name not in core
    }
    assert {room for room, _ in at_once} <= {("cifarlab", "dashboard")}


def test_extras_that_bring_others_name_all_of_them() -> None:
    def others(extra: str) -> set[str]:
        return {name for each in EXTRAS[extra] for name in Requirement(each).extras}

    loggers = {"mlflow", "tensorboard", "trackio", "wandb"}
    assert others("loggers") == loggers
    assert others("all") == set(FILES_OF_EXTRAS) - loggers
    assert others("dev") >= {"all", "docs", "loggers", "test"}


def test_documents_name_the_extras_that_there_are() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    named = {
        name for group in re.findall(r"cifarlab\[([\w,-]+)\]", text) for name in group.split(",")
    }
    assert named <= set(EXTRAS)
    index = (ROOT / "docs" / "index.md").read_text("utf-8").partition("| extra | brings |")[2]
    listed = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|([^|]*)\|", index, re.MULTILINE)))
    assert sorted(listed) == sorted(set(EXTRAS) - {"docs", "test", "dev"})


def test_there_is_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == cifarlab.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## ([\d.]+)", changelog, re.MULTILINE)[0] == cifarlab.__version__


def test_python_versions_are_those_that_are_tested() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))["jobs"]
    tested = jobs["test"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: "
    listed = [text.removeprefix(prefix) for text in PROJECT["classifiers"] if prefix in text]
    assert listed == tested and PROJECT["requires-python"] == f">={tested[0]}"


@pytest.mark.parametrize("file", [".github/workflows/test.yml", ".gitlab-ci.yml"])
def test_each_forge_has_all_jobs_by_the_makefile(file: str) -> None:
    content = yaml.safe_load((ROOT / file).read_text("utf-8"))
    jobs = content.get("jobs", content)
    text = (ROOT / file).read_text("utf-8")
    assert set(jobs) - {"default"} == {"lint", "test", "lowest", "wheel", "docs"}
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    called = re.findall(r"make (\w+)", text)
    assert called and set(called) <= set(targets)
