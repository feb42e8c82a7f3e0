"""What may happen to a file of a run, study or search that came from elsewhere."""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Damage = Callable[[Path], object]
DEEP = "[" * 100_000
DAMAGE: dict[str, Damage] = {
    "nested": lambda file: file.write_text(f'{{"epoch": {DEEP}\n'),
    "nested and closed": lambda file: file.write_text(
        json.dumps({"epoch": 1, "data": json.loads("[" * 300 + "]" * 300)}) + "\n"
    ),
    "a number of 5,000 digits": lambda file: file.write_text(f'{{"epoch": 1{"0" * 5000}}}\n'),
    "a number of 70 bits": lambda file: file.write_text(f'{{"epoch": {2**70}, "seed": {2**70}}}\n'),
    "no UTF-8": lambda file: file.write_bytes(b'{"epoch": "\xff"}\n'),
    "half a character": lambda file: file.write_text('{"epoch": 1, "name": "\\ud800"}\n'),
    "a list": lambda file: file.write_text("[1]\n"),
    "a folder": lambda file: file.mkdir(),
    "a pipe": lambda file: os.mkfifo(file),
}
INVALID: tuple[Any, ...] = ("x", [1], {"a": 1}, None, True, -1, 2**62, 1e308)


def damage_in_turn(path: Path, damages: Iterable[Damage]) -> Iterator[None]:
    """Damage a file in one way after another; at the end it is as it was."""
    before = path.read_bytes() if path.exists() else None
    for damage in damages:
        path.unlink(missing_ok=True)
        damage(path)
        yield
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if before is not None:
            path.write_bytes(before)


def invalid_values(path: Path) -> list[Damage]:
    """A JSON file, or the first line of several, with one value after another of another type."""
    first, rest = path.read_text(), ""
    if path.suffix == ".jsonl":
        first, _, rest = first.partition("\n")
    tree = json.loads(first)
    texts = [f"{json.dumps(changed)}\n{rest}" for changed in _damaged_trees(tree)]
    return [lambda file, text=text: file.write_text(text) for text in texts]


def _paths(tree: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """The paths to all values of a tree; of a list to its first."""
    pairs = tree.items() if isinstance(tree, dict) else list(enumerate(tree))[:1]
    for key, value in pairs:
        yield (*above, key)
        if isinstance(value, dict | list):
            yield from _paths(value, *above, key)


def _damaged_trees(tree: Any) -> Iterator[Any]:
    """The tree with one value after another replaced by one of another type."""
    for number, path in enumerate(_paths(tree)):
        damaged_tree = copy.deepcopy(tree)
        parent = damaged_tree
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = INVALID[number % len(INVALID)]
        yield damaged_tree
