"""Public functions say what they take and raise, as the glossary asks (Google style)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "cifarlab").rglob("*.py"))


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """Yield the public functions of a module and the public methods of its public classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                yield from public_functions(node.body)
            else:
                yield node


def is_command(function: ast.FunctionDef) -> bool:
    """Return whether it is a command: its docstring is the help, and options have their own."""
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)


def section(docstring: str, title: str) -> set[str]:
    """Return the names that a section of a Google style docstring describes."""
    lines = docstring.partition(f"\n{title}:\n")[2].splitlines()
    end = next((n for n, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    named = (line.partition(":") for line in lines[:end])
    return {name.split()[0].lstrip("*") for name, colon, _ in named if colon and name.strip()}


def parameters(function: ast.FunctionDef) -> set[str]:
    """Return the names of the parameters, all but self and cls."""
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return {argument.arg for argument in listed + extra} - {"self", "cls"}


def raised(function: ast.FunctionDef) -> set[str]:
    """Return the classes of the errors that a function's own body raises by name."""
    raises = [n.exc for n in ast.walk(function) if isinstance(n, ast.Raise) and n.exc is not None]
    names = (ast.unparse(e.func) for e in raises if isinstance(e, ast.Call))
    return {n.rpartition(".")[2] for n in names if n.rpartition(".")[2][0].isupper()}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_docstrings_list_more_than_two_parameters_and_every_error(file: Path) -> None:
    incomplete = {}
    for function in public_functions(ast.parse(file.read_text(encoding="utf-8")).body):
        docstring = ast.get_docstring(function) or ""
        if not docstring or is_command(function):  # an override: the base's docstring holds
            continue
        names = parameters(function)
        missing = names - section(docstring, "Args") if len(names) > 2 else set()
        missing |= raised(function) - section(docstring, "Raises")
        if missing:
            incomplete[f"{function.name} (line {function.lineno})"] = sorted(missing)
    assert not incomplete


def test_sections_are_read() -> None:
    docstring = ast.get_docstring(
        ast.parse('"""X.\n\n    Args:\n        *a: b\n\n    Raises:\n        E: c: d\n    """')
    )
    assert section(docstring or "", "Args") == {"a"}
    assert section(docstring or "", "Raises") == {"E"}
