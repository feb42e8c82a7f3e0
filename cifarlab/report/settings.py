"""Recipes as text: settings that are not the default, and settings that differ between runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mode
from typing import Any

import yaml

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build
from cifarlab.run_folder.values import leaves
from cifarlab.system.formatting import NOTHING

Difference = tuple[str, list[str]]  # a path, and its value in each recipe
AnyRecipe = Recipe | Mapping[str, Any]
YamlLine = tuple[str, str, str | None]
_MAX_LETTERS = 60  # of a name that lists settings


def yaml_lines(recipe: Recipe) -> Iterator[YamlLine]:
    """Yield the recipe as lines of YAML: indent, text, and the default if the value is another."""
    return _lines(recipe.model_dump(mode="json"), _defaults(recipe), "")


def departures(recipe: Recipe) -> list[Difference]:
    """Return the settings that are not the default: path, value and default."""
    return differences([recipe, _defaults(recipe)])


def _defaults(recipe: Recipe) -> dict[str, Any]:
    """Return the default of each setting, given the recipe's kinds; of these, the usual ones."""
    tree = recipe.model_dump(mode="json")
    kinds = {
        name: {"kind": part["kind"]}
        for name, part in tree.items()
        if isinstance(part, dict) and "kind" in part
    }
    defaults = build({"plugins": tree["plugins"], **kinds}).model_dump(mode="json")
    default_recipe = Recipe().model_dump(mode="json")
    for name in kinds:
        defaults[name]["kind"] = default_recipe[name]["kind"]
    return defaults | {"name": tree["name"]}


def _lines(tree: dict[str, Any], defaults: Any, indent: str) -> Iterator[YamlLine]:
    for key, value in tree.items():
        default = defaults.get(key) if isinstance(defaults, dict) else None
        if isinstance(value, dict) and value:
            yield indent, f"{key}:", None
            yield from _lines(value, default, indent + "  ")
        else:
            yield indent, f"{key}: {_inline(value)}", None if value == default else _inline(default)


def _inline(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def differences(
    trees: Sequence[AnyRecipe], to_text: Callable[[Any], str] = _inline
) -> list[Difference]:
    """Return the settings that differ: path, and value by recipe (a dash: no such key).

    Other mappings, nested or by dotted path, such as results, are compared in the same way.
    """
    mappings = [
        tree.model_dump(mode="json") if isinstance(tree, Recipe) else tree for tree in trees
    ]
    columns = [{path: v for path, v in leaves(tree) if path != "name"} for tree in mappings]
    sections = {name: position for position, name in enumerate(Recipe.model_fields)}
    paths = dict.fromkeys(path for column in columns for path in column)
    rows = [
        (path, [to_text(column[path]) if path in column else NOTHING for column in columns])
        for path in sorted(paths, key=lambda path: sections.get(path.split(".")[0], len(sections)))
        if len({repr(column.get(path, NOTHING)) for column in columns}) > 1
    ]
    return [(path, values) for path, values in rows if len(set(values)) > 1]


def distinct_names(
    names: Sequence[str], recipes: Sequence[AnyRecipe], folders: Sequence[str]
) -> list[str]:
    """Return the recipes' names; equal ones get the settings in which their recipes differ.

    A name that is too long lists only settings that most others do not have; one that still is
    gets the name of a run's folder instead.

    Args:
        names: the recipes' names
        recipes: the recipes, or their settings
        folders: the name of a run's folder of each
    """
    results = list(names)
    for name in {name for name in names if names.count(name) > 1}:
        indices = [index for index, other in enumerate(names) if other == name]
        changes = [c for c in differences([recipes[i] for i in indices]) if c[0] != "seed"]
        kinds = tuple(path.removesuffix("kind") for path, _ in changes if path.endswith(".kind"))
        # another kind has other keys: the kind stands for them
        selection = [c for c in changes if c[0].endswith(".kind") or not c[0].startswith(kinds)]
        most = {path: mode(c) for path, c in selection if c.count(mode(c)) > len(c) / 2}
        for common in ({}, most):
            labels = [_add_settings(name, selection, common, n) for n in range(len(indices))]
            if max(map(len, labels)) <= _MAX_LETTERS:
                break
        for index, label in zip(indices, labels, strict=True):
            results[index] = label if len(label) <= _MAX_LETTERS else f"{name} {folders[index]}"
    return results


def _add_settings(
    name: str, changes: Sequence[tuple[str, list[str]]], common: Mapping[str, str], column: int
) -> str:
    """Return a name with a recipe's settings, but for those with the ``common`` value."""
    assignments = [f"{path}={c[column]}" for path, c in changes if c[column] != common.get(path)]
    return " ".join([name, *assignments])
