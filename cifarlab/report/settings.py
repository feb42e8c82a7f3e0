"""Recipes as text: what departs from the defaults, and what differs between runs."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mode
from typing import Any

import yaml

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build
from cifarlab.system.formatting import NOTHING

Line = tuple[str, str, str | None]
_LONGEST = 60  # letters of a name that lists settings


def settings(recipe: Recipe) -> Iterator[Line]:
    """Yield the complete recipe as lines of YAML: indent, text, and the default if it departs."""
    tree = recipe.model_dump(mode="json")
    kinds = {
        name: {"kind": part["kind"]}
        for name, part in tree.items()
        if isinstance(part, dict) and "kind" in part
    }
    defaults = build({"plugins": tree["plugins"], **kinds}).model_dump(mode="json")
    usual = Recipe().model_dump(mode="json")
    for name in kinds:
        defaults[name]["kind"] = usual[name]["kind"]
    return _lines(tree, defaults | {"name": tree["name"]}, "")


def _lines(tree: dict[str, Any], defaults: Any, indent: str) -> Iterator[Line]:
    for key, value in tree.items():
        usual = defaults.get(key) if isinstance(defaults, dict) else None
        if isinstance(value, dict) and value:
            yield indent, f"{key}:", None
            yield from _lines(value, usual, indent + "  ")
        else:
            yield indent, f"{key}: {_inline(value)}", None if value == usual else _inline(usual)


def _inline(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a nested mapping as text by dotted path, in its own order."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _inline(value)


def differences(recipes: Sequence[Recipe]) -> list[tuple[str, list[str]]]:
    """Return the settings that differ: path and each recipe's value (dash: no such key)."""
    leaves = [dict(_leaves(r.model_dump(mode="json", exclude={"name"}))) for r in recipes]
    parts = list(Recipe.model_fields)
    paths = dict.fromkeys(path for leaf in leaves for path in leaf)
    ordered = sorted(paths, key=lambda path: parts.index(path.split(".")[0]))
    rows = [(path, [leaf.get(path, NOTHING) for leaf in leaves]) for path in ordered]
    return [(path, values) for path, values in rows if len(set(values)) > 1]


def distinct_names(
    names: Sequence[str], recipes: Sequence[Recipe], folders: Sequence[str]
) -> list[str]:
    """Return the recipes' names; equal ones with the settings in which their recipes differ.

    Where that is too long to be read: with those that most others do not have, or else with the
    name of a run's folder.
    """
    distinct = list(names)
    for name in {name for name in names if names.count(name) > 1}:
        indices = [index for index, other in enumerate(names) if other == name]
        changed = [c for c in differences([recipes[i] for i in indices]) if c[0] != "seed"]
        kinds = tuple(path.removesuffix("kind") for path, _ in changed if path.endswith(".kind"))
        # another kind has other keys: it is named alone
        shown = [c for c in changed if c[0].endswith(".kind") or not c[0].startswith(kinds)]
        most = {path: mode(c) for path, c in shown if c.count(mode(c)) > len(c) / 2}
        for usual in ({}, most):
            labels = [_with_settings(name, shown, usual, column) for column in range(len(indices))]
            if max(map(len, labels)) <= _LONGEST:
                break
        for index, label in zip(indices, labels, strict=True):
            distinct[index] = label if len(label) <= _LONGEST else f"{name} {folders[index]}"
    return distinct


def _with_settings(
    name: str, changed: Sequence[tuple[str, list[str]]], usual: Mapping[str, str], column: int
) -> str:
    """Return a name and a recipe's settings, without those that are as ``usual``."""
    assignments = [f"{path}={c[column]}" for path, c in changed if c[column] != usual.get(path)]
    return " ".join([name, *assignments])
