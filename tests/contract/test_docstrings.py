"""Public functions say what they take and raise, as the glossary asks (Google style)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(f for d in ("cifarlab", "cifarlab_serve") for f in (ROOT / d).rglob("*.py"))
# Words that an entry may begin with in capitals
NAMES = {"None", "True", "False", "Python", "Optuna", "Ray", "Pillow", "Cohen", "CifarlabError"}


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


def entries(docstring: str, title: str) -> dict[str, str]:
    """Return what a section of a Google style docstring says of each name."""
    lines = f"\n{docstring}".partition(f"\n{title}:\n")[2].splitlines()
    end = next((n for n, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    texts = re.split(r"^    (?! )", "\n".join(lines[:end]), flags=re.MULTILINE)[1:]
    pairs = (text.partition(":") for text in texts)
    return {name.lstrip("*"): " ".join(text.split()) for name, _, text in pairs}


def is_in_form(text: str) -> bool:
    """Return whether an entry begins small, unless with a name, and ends as sentences do."""
    word = re.match(r"A(?= )|[A-Z][a-z]+\b|", text)
    n_sentences = len(re.findall(r"[.!?] [A-Z(`]", text))
    ends = text.endswith(".") and not text.endswith("...")
    return (word is None or not word[0] or word[0] in NAMES) and ends == (n_sentences > 0)


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
        described, errors = (entries(docstring, title).keys() for title in ("Args", "Raises"))
        wrong = names - described if len(names) > 2 else set()
        wrong |= (described - names) | (raised(function) - errors)
        wrong |= {name for name in errors if not re.fullmatch(r"[A-Z]\w+", name)}
        # said in a sentence, outside of the section
        wrong |= set(re.findall(r"\bRaises [A-Z]\w+", docstring))
        if wrong:
            incomplete[f"{function.name} (line {function.lineno})"] = sorted(wrong)
    assert not incomplete


def documented(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and docstrings of a file's classes and functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, ast.get_docstring(node) or ""


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_entries_have_one_form(file: Path) -> None:
    assert not [
        f"{function}: {name}: {text}"
        for function, docstring in documented(file)
        for title in ("Args", "Raises")
        for name, text in entries(docstring, title).items()
        if not is_in_form(text)
    ]


def test_sections_are_read() -> None:
    docstring = ast.get_docstring(
        ast.parse(
            '"""X.\n\n    Args:\n        *a: b\n            c: d\n\n'
            '    Raises:\n        E: c: d\n    """'
        )
    )
    assert entries(docstring or "", "Args") == {"a": "b c: d"}
    assert entries(docstring or "", "Raises") == {"E": "c: d"}
    right = ("the run's", "K, how many", "0, 1, ...", "Pillow's", "RunData or none", "a. B is c.")
    assert all(map(is_in_form, right))
    assert not any(map(is_in_form, ("The run's", "A run's", "the run's.", "a. B is c")))
