"""Recipes as text: what departs from the defaults, and what differs between runs."""

from collections.abc import Mapping, Sequence
from statistics import mode
from typing import Any, NamedTuple

import yaml

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build
from cifarlab.system.formatting import NOTHING

_LONGEST = 60  # letters of a name that lists settings


class Setting(NamedTuple):
    """One line of a recipe as YAML; ``default`` is set where the recipe departs from it."""

    indent: str
    text: str
    default: str | None = None


def settings(recipe: Recipe) -> list[Setting]:
    """Return the complete recipe as lines of YAML, each with the default it departs from."""
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
    return _settings(tree, defaults | {"name": tree["name"]}, "")


def _settings(tree: dict[str, Any], defaults: Any, indent: str) -> list[Setting]:
    lines = []
    for key, value in tree.items():
        usual = defaults.get(key) if isinstance(defaults, dict) else None
        if isinstance(value, dict) and value:
            lines.append(Setting(indent, f"{key}:"))
            lines += _settings(value, usual, indent + "  ")
        else:
            text = f"{key}: {_inline(value)}"
            lines.append(Setting(indent, text, None if value == usual else _inline(usual)))
    return lines


def _inline(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping by dotted path, in its own order."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def differences(recipes: Sequence[Recipe]) -> list[tuple[str, list[str]]]:
    """Return the settings that differ: path and each recipe's value (dash: no such key)."""
    leaves = [flat(recipe.model_dump(mode="json", exclude={"name"})) for recipe in recipes]
    parts = list(Recipe.model_fields)
    paths = dict.fromkeys(path for leaf in leaves for path in leaf)
    ordered = sorted(paths, key=lambda path: parts.index(path.split(".")[0]))
    rows = [
        (path, [_inline(leaf[path]) if path in leaf else NOTHING for leaf in leaves])
        for path in ordered
    ]
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
        changed = differences([recipes[index] for index in indices])
        kinds = tuple(path.removesuffix("kind") for path, _ in changed if path.endswith(".kind"))
        # another kind has other keys: it is named alone
        shown = [c for c in changed if c[0].endswith(".kind") or not c[0].startswith(kinds)]
        shown = [(path, cells) for path, cells in shown if path != "seed"]
        most = {path: mode(cells) for path, cells in shown if _majority(cells)}
        for usual in ({}, most):
            labels = [_with_settings(name, shown, usual, column) for column in range(len(indices))]
            if max(map(len, labels)) <= _LONGEST:
                break
        for index, label in zip(indices, labels, strict=True):
            distinct[index] = label if len(label) <= _LONGEST else f"{name} {folders[index]}"
    return distinct


def _majority(cells: list[str]) -> bool:
    return cells.count(mode(cells)) > len(cells) / 2


def _with_settings(
    name: str, changed: Sequence[tuple[str, list[str]]], usual: Mapping[str, str], column: int
) -> str:
    """Return a name and a recipe's settings, without those that are as ``usual``."""
    assignments = [f"{path}={c[column]}" for path, c in changed if c[column] != usual.get(path)]
    return " ".join([name, *assignments])
