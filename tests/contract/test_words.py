"""The glossary's words: no definition, key, option, file, message or document has an old one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from glossary import CODE, COMMANDS, JSON, KEYS, MODULES, TEXTS, VALUES
from made_search import made as made_search
from made_study import made as made_study
from pydantic import BaseModel
from typer.main import get_command

from cifarlab.audit.duplicates import Twins
from cifarlab.audit.findings import duplicate_findings, label_findings
from cifarlab.cli import app
from cifarlab.data.dataset import Subset
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.results import read_results
from cifarlab.experiments.search.samplers import TrialSamplerConfig
from cifarlab.experiments.search.schedulers import TrialSchedulerConfig
from cifarlab.experiments.search.space import Choice, Integer, LogUniform, Uniform
from cifarlab.experiments.search.table import results_as_json
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.recipes.keys import keys
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.schemas import StoredModel, as_json

ROOT = Path(__file__).parents[2]

# Parts of names: snake_case and CamelCase are cut into words.
OLD_PARTS = {
    *("rate", "share", "shares", "deviation", "told", "said", "asked", "found", "heard"),
    *("place", "places", "tell", "tells", "normalise", "regularisation", "normalisation"),
    *("initialisation", "standardisation", "colour", "colours", "strangers", "flattery"),
    *("flattered", "oracle", "journal", "crumb", "ledger"),
}
# Whole names: those of the glossary's table, and some that name nothing.
OLD_NAMES = {
    *(name for name, _ in CODE if not re.search(r"[./]", name)),
    *("of", "one", "own", "whole", "fresh", "given", "decoupled", "everything"),
    *("ended", "why", "unsure"),
}
# Bare participles, adverbs and prepositions, which name nothing; the package has none. Words that
# say which of two or more (first, last, left, other, before) and what an operation made of an
# image or a tensor (resized, scaled, shuffled), as in torchvision, are names.
BARE = {
    *("shown", "known", "usual", "kept", "planned", "named", "made", "every", "opened", "trained"),
    *("measured", "changed", "wanted", "approved", "trusted", "seen", "drawn", "needed", "plain"),
    *("busy", "saved", "stored", "done", "cut", "near", "far", "there", "here", "added", "moved"),
    *("taken", "signed", "alike", "written", "reached", "refused", "apart", "without", "listed"),
    *("counted", "failed", "at", "to", "by", "below", "under", "over", "between", "spent", "still"),
    *("started", "learned", "worse", "bad", "small", "large", "used", "joined", "early", "stays"),
    *("finished", "allowed", "free", "passed", "suspect", "lost", "alive", "loaded", "sent"),
    *("evaluated", "existing", "wrapped", "ready", "short", "wrong", "both", "same", "nearest"),
    *("compared", "tested", "corrected", "ranked", "derived"),
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
    "by": "what is compared one by one: the option of compare, as in pandas",
    "to": "the format of an export: the option of the command",
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


FILES = sorted(f for d in ("cifarlab", "cifarlab_serve") for f in (ROOT / d).rglob("*.py"))
AROUND = [f for d in ("tests", "benchmarks", "examples") for f in sorted((ROOT / d).rglob("*.py"))]


@pytest.mark.parametrize("file", FILES + AROUND, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_definition_has_an_old_name(file: Path) -> None:
    old = sorted({f"{name} (line {line})" for line, name in defined(file) if is_old(name)})
    assert not old


def test_no_class_room_or_module_has_the_old_name() -> None:
    for old, new in MODULES:
        assert (ROOT / "cifarlab" / new).exists() and not (ROOT / "cifarlab" / old).exists()
    in_folders = {f"{file.parent.name}/{name}" for file in FILES for _, name in defined(file)}
    files = [file for file in FILES if file.is_relative_to(ROOT / "cifarlab")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    members = {
        f"{node.name}.{member.name if isinstance(member, ast.FunctionDef) else member.target.id}"
        for node in classes
        for member in node.body
        if isinstance(member, ast.FunctionDef)
        or (isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name))
    }
    assert {"Batch.global_size", "Batch.lam", "Processes.world_size"} <= members
    assert not [old for old, _ in CODE if old in in_folders | members]
    names = [node.name.strip("_") for node in classes]
    assert not [name for name in names if names.count(name) > 1]  # each its own


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
    assert not [old for old, _ in TEXTS if any(re.search(rf"\b{old}\b", text) for text in texts)]
    assert all(any(new in text for text in texts) for _, new in TEXTS)
    assert not [line for text in texts for line in old_lines(text, OLD_IN_MESSAGES)]


def listed_keys() -> dict[str, set[str]]:
    """Return the values of every key, under its path, and with its kinds in brackets, too."""
    listed: dict[str, set[str]] = {}
    for key in keys():
        paths = [key.path, *(f"{key.path}[{kind}]" for kind in key.kind.split(", ") if kind)]
        paths += [f"{key.path}.{name}" for name in re.findall(r"(\w+):", key.allowed_values)]
        for path in paths:
            values = re.split(r" \| |list of ", key.allowed_values)
            listed.setdefault(path, set()).update(values)
    parts = {"study": Study, "study.rows": StudyRow, "search": Search}
    for name, family in (("sampler", TrialSamplerConfig), ("scheduler", TrialSchedulerConfig)):
        for kind, part in family.kinds().items():
            parts |= {f"search.{name}": part, f"search.{name}[{kind}]": part}
            listed |= {f"search.{name}.{field}[{kind}]": set() for field in part.model_fields}
    listed |= {
        f"{path}.{field}": set() for path, part in parts.items() for field in part.model_fields
    }
    dimensions = (Choice, Uniform, LogUniform, Integer)
    listed["search.space.kind"] = {part.model_fields["kind"].default for part in dimensions}
    return listed


def test_no_key_has_an_old_name() -> None:
    listed = listed_keys()
    assert not [path for path in listed if any(map(is_old, path.partition("[")[0].split(".")))]
    assert not sorted(old for old, _ in KEYS for key in listed if f"{key}.".startswith(f"{old}."))
    assert not sorted(new for _, new in KEYS if new not in listed)
    for key, (old, new) in ((key, words.split()) for key, words in VALUES):
        assert new in listed[key] and old not in listed[key]


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
    words = {word for _, word in names}
    assert not [old for old, _ in COMMANDS if old in words]
    assert not [new for _, new in COMMANDS if new not in words]


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
    labels = label_findings(
        np.eye(2, dtype=np.float32), equal, SimpleNamespace(read=lambda split: equal), 2, 0
    )
    files = {
        "result.json": finished.result(),
        "provenance.json": finished.provenance(),
        "metrics.jsonl": finished.metrics.read(),
        "study.json": as_json(made_study()),
        "search.json": results_as_json(read_results(search, 1.0, folder), None),
        "search.jsonl": folder.events.read(),
        "findings.json": [duplicates, labels],
        **{schema.__name__: dict(schema.model_fields) for schema in schemas(StoredModel)},
    }
    assert {StudyFolder.schema.__name__, SearchFolder.schema.__name__} <= set(files)
    assert all(map(list, map(keys_in, files.values())))
    old = {(file, key) for file, tree in files.items() for key in keys_in(tree) if is_old(key)}
    assert not sorted(old)
    for file, (name, new) in ((file, words.split()) for file, words in JSON):
        written = set(keys_in(files[file]))
        assert new in written and name not in written


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
