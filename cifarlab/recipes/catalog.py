"""Recipes by name: a user's file, or a shipped one, of which each report has a YAML file.

A shipped recipe says what a user's file may say, and two things more: its ``text`` (its source,
what that leaves open and what was chosen, and what to expect, as measured) and its report's number,
``reported``.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from cifarlab.config.base import Config, Name
from cifarlab.config.plugins import ExtensibleConfig, Plugin, decisive_plugins
from cifarlab.recipes import text
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import RecipeError

_NO_REPORT = "common"  # the file of what has no report's name before its own


class Reported(Config):
    """A report's number, taken for a single run."""

    accuracy: float = Field(ge=0, le=100, description="in per cent")
    data: str = Field("CIFAR-10", min_length=1, description="what it was measured on")
    split: Literal["test", "val"] = Field("test", description="on which part of that")
    source: str = Field("", description="the report, and where in it")
    note: str = Field("one run", description="what the number is of")
    contradiction: str = Field("", description="where the report says otherwise elsewhere")
    classes: dict[str, float] = Field({}, description="accuracy of each class, in per cent")
    confusion_matrix: tuple[tuple[int, ...], ...] = Field(
        (), description="images of each class (rows) by predicted class (columns)"
    )


class DerivedRecipe(ExtensibleConfig):
    """A recipe file that says what it changes of another recipe."""

    name: Name
    base: str = Field(description="a shipped recipe's name or a YAML file")
    overrides: dict[str, Any] = Field({}, description="settings by dotted path")


class ShippedRecipe(NamedTuple):
    """The description of a recipe, its report's number, and what a user's file would say."""

    text: str
    reported: Reported | None
    tree: Mapping[str, Any]


@cache
def _read_report(path: Path) -> dict[str, ShippedRecipe]:
    recipes = {}
    for name, entry in text.read_yaml(path, "recipes").items():
        tree = {"name": name, **entry}
        about, number = tree.pop("text"), tree.pop("reported", None)
        reported = None
        if number:
            reported = Reported(**number, source=path.stem)
            split = "validation " if reported.split == "val" else ""
            about += (
                f"Reported: {reported.accuracy:g} % {split}on {reported.data} ({reported.note}).\n"
            )
        recipes[name] = ShippedRecipe(f"{about}Command: cifarlab train {name}\n", reported, tree)
    return recipes


def shipped_recipes() -> dict[str, ShippedRecipe]:
    """Return all shipped recipes by name."""
    reports = map(_read_report, text.list_shipped(__file__).values())
    return dict(sorted(pair for report in reports for pair in report.items()))


def find_shipped(name: str) -> ShippedRecipe | None:
    """Return a shipped recipe by name, None where there is none; only its report's file is read."""
    path = text.list_shipped(__file__).get(name.rpartition("/")[0] or _NO_REPORT)
    return _read_report(path).get(name) if path else None


def usual_shape(recipe: Recipe) -> tuple[tuple[int, int, int], int]:
    """Return the image shape (H, W, C) and number of classes K of the recipe's data.

    A folder or archive, which says neither before it is read, is taken for one like CIFAR-10:
    (32, 32, 3) and 10.
    """
    data = recipe.data
    expected = data.source.describe(data.label_mode)
    height, width, channels = expected.image_shape
    size = data.images.size
    channels = {"auto": channels, "grey": 1, "rgb": 3}[data.images.channels]
    return (size or height, size or width, channels), expected.classes


def usual_images(recipe: Recipe) -> int:
    """Return how many images the recipe trains on.

    A folder or archive, which does not say so before it is read, is taken for one like CIFAR-10:
    50,000 with those for validation.
    """
    data = recipe.data
    expected = data.source.describe(data.label_mode)
    cuts_test = expected.splits is not None and "test" not in expected.splits
    cuts_val = expected.splits is None or "val" not in expected.splits
    left = (1 - data.test_fraction if cuts_test else 1) * (1 - data.val_fraction if cuts_val else 1)
    return round(expected.images * left * data.train_subset_fraction)


def usual_splits(recipe: Recipe) -> tuple[str, ...]:
    """Return the splits that the recipe's data bring, as far as their source says."""
    return recipe.data.source.describe(recipe.data.label_mode).splits or ("train",)


def describe(name: str) -> str:
    """Return the description of a shipped recipe as YAML comments; empty for a file."""
    shipped = find_shipped(name)
    lines = shipped.text.splitlines() if shipped else []
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def find(name: str, plugins: Sequence[Plugin] = (), outer_paths: tuple[str, ...] = ()) -> Recipe:
    """Return a recipe by its name or the path of its YAML file.

    Args:
        name: a shipped recipe's name, or a path
        plugins: loaded ones; the recipe names those that decide something
        outer_paths: paths of the recipes whose base it is, each the base of the one before

    Raises:
        RecipeError: there is none, with the nearest shipped name, or it is refused
        PluginError: a plug-in of it is missing, not approved or fails
    """
    if os.path.realpath(name) in outer_paths:
        raise RecipeError(f"the recipe {name} has itself as a base", "give it another base")
    plugins = decisive_plugins(plugins)
    if shipped := find_shipped(name):
        tree, where, folder = shipped.tree, name, None
    else:
        path = text.find_file("recipe", "recipes list", name, shipped_recipes)
        tree, where, folder = text.read_named(path, "recipe", plugins), str(path), path.parent
    if not (isinstance(tree, Mapping) and "base" in tree):
        return text.build(tree, where, folder).add_plugins(plugins)
    hint = "write what it changes under overrides"
    variant = text.validate_config(DerivedRecipe, tree, where, hint)
    base = find_named(variant.base, variant.plugins, where, (*outer_paths, os.path.realpath(name)))
    base = base.add_plugins((*variant.plugins, *plugins))
    return text.change(base, {**variant.overrides, "name": variant.name}, where, folder)


def find_named(
    name: str, plugins: Sequence[Plugin], where: str, outer_paths: tuple[str, ...] = ()
) -> Recipe:
    """Return a recipe that another file names.

    Args:
        name: as in ``find``
        plugins: as in ``find``
        where: that file or key, which the error names first
        outer_paths: as in ``find``

    Raises:
        RecipeError: as ``find`` does
        PluginError: as ``find`` does
    """
    try:
        return find(name, plugins, outer_paths)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error.what}", error.hint) from error
