"""Recipes as text: what departs from the defaults, and what differs between runs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from cifarlab.recipe import Recipe, build
from cifarlab.report.content import Run
from cifarlab.report.words import NOTHING


class Setting(NamedTuple):
    """One line of a recipe as YAML; ``default`` is set where the recipe departs from it."""

    indent: str
    text: str
    default: str | None = None


def settings(recipe: Recipe) -> list[Setting]:
    """The complete recipe as YAML, line by line, each beside the default that it departs from."""
    tree = recipe.model_dump(mode="json")
    kinds = {
        name: {"kind": part["kind"]}
        for name, part in tree.items()
        if isinstance(part, dict) and "kind" in part
    }
    defaults = build(kinds).model_dump(mode="json")
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
    """A nested mapping by dotted path, in its own order."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs: path and each run's value (dash: no such key)."""
    leaves = [flat(run.recipe.model_dump(mode="json", exclude={"name"})) for run in runs]
    parts = list(Recipe.model_fields)
    paths = dict.fromkeys(path for one in leaves for path in one)
    ordered = sorted(paths, key=lambda path: parts.index(path.split(".")[0]))
    rows = [
        (path, [_inline(one[path]) if path in one else NOTHING for one in leaves])
        for path in ordered
    ]
    return [(path, values) for path, values in rows if len(set(values)) > 1]
