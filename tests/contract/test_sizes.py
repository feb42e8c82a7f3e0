"""Files and functions stay small enough to be read at once."""

import ast
import statistics
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("cifarlab", "cifarlab_serve", "tests", "benchmarks", "examples")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))


def lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_file_over_400_lines_and_no_function_over_60(file: Path) -> None:
    assert lines(file) <= 400
    functions = [
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > 60]
    assert not long


def test_the_median_file_is_under_150_lines() -> None:
    assert statistics.median(lines(f) for f in FILES) < 150


EXPERIMENTS = ROOT / "cifarlab" / "experiments"
WORKERS = ("engine", "worker", "placement", "local_workers", "cluster", "gpus")
VERDICTS_AND_RECORDS = {
    "search": {"record"},
    "study": {
        "record",
        "outcomes",
        "comparison",
        "verdicts",
        "margin",
        "agreement",
        "evidence",
        "by_image",
        "price",
    },
}
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def code_lines(file: Path) -> int:
    """Lines with code: without docstrings, comments and blank lines."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        has_docstring = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, has_docstring) and ast.get_docstring(node) is not None:
            first = node.body[0]
            docstrings |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    with tokenize.open(file) as text:
        tokens = [t for t in tokenize.generate_tokens(text.readline) if t.type not in NO_CODE]
    # the last token is the end of the file
    code = {line for t in tokens[:-1] for line in range(t.start[0], t.end[0] + 1)}
    return len(code - docstrings)


def test_study_search_and_their_engine_stay_small() -> None:
    """Verdicts and records aside; docs/architecture.md names these files, too."""
    counted = [EXPERIMENTS / f"{name}.py" for name in WORKERS]
    for folder, aside in VERDICTS_AND_RECORDS.items():
        files = {file.stem: file for file in (EXPERIMENTS / folder).glob("*.py")}
        counted += [files[name] for name in files.keys() - aside]
        assert aside <= files.keys()
    assert sum(map(code_lines, counted)) <= 2700
