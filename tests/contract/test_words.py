"""The glossary's words: no definition, key, option, file, message or document has an old one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_search import made as made_search
from made_study import made as made_study
from pydantic import BaseModel
from typer.main import get_command

from cifarlab.audit.duplicates import Twins
from cifarlab.audit.findings import duplicate_findings
from cifarlab.audit.labels import evaluate_ranking
from cifarlab.cli import app
from cifarlab.data.dataset import Subset
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.results import read_results
from cifarlab.experiments.search.table import results_as_json
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.writing import as_json
from cifarlab.recipes.keys import keys
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.schemas import StoredModel

ROOT = Path(__file__).parents[2]

# Parts of names: snake_case and CamelCase are cut into words.
OLD_PARTS = {
    "rate",
    "share",
    "shares",
    "deviation",
    "told",
    "said",
    "asked",
    "found",
    "heard",
    "place",
    "places",
    "tell",
    "tells",
    "normalise",
    "regularisation",
    "normalisation",
    "initialisation",
    "standardisation",
    "colour",
    "colours",
    "strangers",
    "flattery",
    "flattered",
    "oracle",
    "journal",
    "crumb",
    "ledger",
}
# Whole names.
OLD_NAMES = {
    "Part",
    "Rate",
    "Share",
    "pieces",
    "piece_sizes",
    "hits",
    "worth_a_backward_pass",
    "sized",
    "shrunk",
    "ALONE",
    "by_first",
    "in_turn",
    "add_up",
    "joined",
    "Watch",
    "ending",
    "Asked",
    "Hook",
    "Recorder",
    "examine",
    "silent_units",
    "Answers",
    "Judge",
    "Course",
    "Notes",
    "finals",
    "hindrance",
    "strange",
    "Shown",
    "Told",
    "SpreadBatchNorm",
    "SpreadDropout",
    "of",
    "one",
    "own",
    "whole",
    "fresh",
    "given",
    "decoupled",
    "selected",
    "moves",
    "watched",
    "again",
    "gains",
    "beside",
    "inside",
    "chosen",
    "everything",
    "ended",
    "why",
    "unsure",
}
# Bare participles, adverbs and prepositions, which name nothing; the package has none. Words that
# say which of two or more (first, last, left, other, before, same) and what an operation made of an
# image or a tensor (resized, scaled, shuffled), as in torchvision, are names.
BARE = {
    *("shown", "known", "usual", "kept", "planned", "named", "made", "every", "opened", "trained"),
    *("measured", "changed", "wanted", "approved", "trusted", "seen", "drawn", "needed", "plain"),
    *("busy", "saved", "stored", "done", "cut", "near", "far", "there", "here", "added", "moved"),
    *("taken", "signed", "alike", "written", "reached", "refused", "apart", "without", "listed"),
    *("counted", "failed", "at", "to", "by", "below", "under", "over", "between", "spent", "still"),
    *("started", "learned", "worse", "bad", "small", "large", "used", "joined", "early", "stays"),
    *("finished", "allowed", "free", "passed", "suspect", "lost", "alive", "loaded", "sent"),
    *("evaluated", "existing", "wrapped", "ready", "short", "wrong", "both"),
}
# Words of prose that have one sense only, the old one: in documents, comments, pages and recipes.
OLD_PROSE = re.compile(
    r"\b(?:told|strangers?|oracle|ledger|journal|flattery|crumb)\b"
    r"|\b(?:a|the|this|as) shares?\b|\bshares? (?:of|from)\b"  # "runs share a machine" stays
    r"|(?<!standard )\bdeviations?\b",
    re.IGNORECASE,
)
# Of what a user is shown besides: names of numbers and files, never these.
OLD_IN_MESSAGES = re.compile(
    r"\bshares?\b|(?<!learning )\brates?\b|\btells?\b|(?<!in )(?<!in its )\bplaces?\b",
    re.IGNORECASE,
)
# Names that stay, each with its reason.
EXCEPTIONS: dict[str, str] = {
    "noise_rate": "the glossary's own word",
    "every": "the key of averaging, as in recipes",
    "tell": "Optuna's word for handing a trial's score over",
}


def words_of(name: str) -> list[str]:
    """Cut a name into its words in lower case."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return [word for word in re.split(r"[\W_]+", spaced.lower()) if word]


def is_old(name: str) -> bool:
    """Return whether a name is one of the glossary's left-hand column."""
    if name in EXCEPTIONS:
        return False
    return name.strip("_") in OLD_NAMES or bool(OLD_PARTS.intersection(words_of(name)))


def defined(file: Path) -> Iterator[tuple[int, str]]:
    """Yield every name that a file defines, with its line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


FILES = sorted((ROOT / "cifarlab").rglob("*.py"))
AROUND = [f for d in ("tests", "benchmarks", "examples") for f in sorted((ROOT / d).rglob("*.py"))]


@pytest.mark.parametrize("file", FILES + AROUND, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_definition_has_an_old_name(file: Path) -> None:
    old = sorted({f"{name} (line {line})" for line, name in defined(file) if is_old(name)})
    assert not old


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_name_of_the_package_is_a_bare_participle_or_preposition(file: Path) -> None:
    names = {(line, name) for line, name in defined(file) if name not in EXCEPTIONS}
    bare = [f"{name} (line {n})" for n, name in sorted(names) if name.strip("_").lower() in BARE]
    assert not bare


def test_no_file_has_an_old_name() -> None:
    folders = [ROOT / name for name in ("cifarlab", "docs", "tests", "examples", "benchmarks")]
    names = {file.name for folder in folders for file in folder.rglob("*")}
    assert {"test_words.py", "quickstart.yaml", "page.html", "architecture.md"} <= names
    assert not sorted(name for name in names if is_old(name.partition(".")[0]))


def old_lines(text: str, words: re.Pattern[str]) -> list[str]:
    """Return the passages that have such words, also where a line ends between two."""
    flat = " ".join(text.split())
    return [flat[max(0, m.start() - 30) : m.end() + 20] for m in words.finditer(flat)]


PROSE = sorted(
    file
    for pattern in ("cifarlab/**/*", "docs/**/*.md", "*.md")
    for file in ROOT.glob(pattern)
    if file.suffix in {".py", ".md", ".html", ".yaml", ".css", ".js"}
)


def test_no_prose_has_an_old_word() -> None:
    assert {"README.md", "CHANGELOG.md", "data.md", "parts.html"} <= {file.name for file in PROSE}
    texts = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in PROSE}
    old = {name: old_lines(text, OLD_PROSE) for name, text in texts.items()}
    assert not {name: lines for name, lines in old.items() if lines}


def messages(file: Path) -> Iterator[str]:
    """Yield the texts of a file that are no docstrings."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield node.value if isinstance(node.value, str) else ""


def test_no_message_or_help_has_an_old_word() -> None:
    texts = [text for file in FILES for text in messages(file)]
    assert any("learning rate" in text for text in texts)
    assert not [line for text in texts for line in old_lines(text, OLD_IN_MESSAGES)]


def test_no_key_has_an_old_name() -> None:
    assert not [key.path for key in keys() if any(map(is_old, key.path.split(".")))]


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command under a group by its words."""
    for name, command in getattr(group, "commands", {}).items():
        yield f"{path} {name}".strip(), command
        yield from commands(command, f"{path} {name}")


def test_no_command_option_or_argument_has_an_old_name() -> None:
    walked = dict(commands(get_command(app)))
    assert {"train", "recipes keys"} <= set(walked)
    names = {
        (words, name)
        for words, command in walked.items()
        for name in (
            *words.split(),
            *(option for param in command.params for option in (param.name, *param.opts)),
        )
    }
    assert ("train", "--tensor-stats") in names
    assert not sorted((words, name) for words, name in names if is_old(name))


def keys_in(tree: Any) -> Iterator[str]:
    """Yield the keys of plain values."""
    if isinstance(tree, dict):
        yield from tree
    for value in (
        tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    ):
        yield from keys_in(value)


def schemas(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield all that is read from files of ours."""
    for schema in base.__subclasses__():
        yield schema
        yield from schemas(schema)


def test_no_key_of_a_file_has_an_old_name(finished: RunFolder, tmp_path: Path) -> None:
    search, folder = made_search(tmp_path, 3)
    equal = Subset(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, int), np.arange(2))
    duplicates, _ = duplicate_findings(Twins(np.array([[0, 1]]), np.ones(1)), {"train": equal})
    ranking = evaluate_ranking(np.arange(2), np.array([True, False]))
    files = {
        "result.json": finished.result(),
        "provenance.json": finished.provenance(),
        "metrics.jsonl": finished.metrics.read(),
        "study.json": as_json(made_study()),
        "search.json": results_as_json(read_results(search, 1.0, folder), None),
        "search.jsonl": folder.events(),
        "findings.json": [duplicates, ranking],
        **{schema.__name__: dict(schema.model_fields) for schema in schemas(StoredModel)},
    }
    assert {StudyFolder.schema.__name__, SearchFolder.schema.__name__} <= set(files)
    assert all(map(list, map(keys_in, files.values())))
    old = {(file, key) for file, tree in files.items() for key in keys_in(tree) if is_old(key)}
    assert not sorted(old)


def test_the_old_names_are_noticed() -> None:
    assert all(
        map(is_old, ("tell_places", "Share", "_share", "ShareOfAll", "by_first", "told_rate"))
    )
    assert not any(map(is_old, ("lr", "n_epochs", "separate", "shared_memory", "placement")))


def test_the_old_words_are_noticed() -> None:
    prose = ("a share of the images", "as\nshares of the run", "Strangers", "mean and deviation")
    assert all(old_lines(text, OLD_PROSE) for text in prose)
    right = "Runs share the cores; the standard\ndeviation; which share a colour."
    assert not old_lines(right, OLD_PROSE)
    shown = ("the rate falls", "validation share", "choose another place")
    assert all(old_lines(text, OLD_IN_MESSAGES) for text in shown)
    assert not old_lines("the learning rate; put a file in its place", OLD_IN_MESSAGES)


def test_every_exception_has_its_use() -> None:
    names = {name for file in FILES for _, name in defined(file)} | {
        part for key in keys() for part in key.path.split(".")
    }
    assert set(EXCEPTIONS) <= names
