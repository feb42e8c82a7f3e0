"""Few shipped recipes, made small, that have every setting of all shipped recipes among them."""

import re
from typing import Any

from short_recipes import shorten

from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change

RECIPES = {name: find(name) for name in shipped_recipes()}
DURATION = re.compile(r"[\d.]+ (epochs?|steps?|of the run)$")
# what the runs here have of their own
IGNORED_KEYS = (
    "name",
    "data.source",
    "data.train_subset_fraction",
    "data.label_mode",
    "training.batch_size",
    "training.micro_batch_size",
    "training.precision",
    "model.channels",
    "model.max_parameters",
)


def shrink(recipe: Recipe) -> Recipe:
    """The recipe with two steps on digits of 8 pixels, in few channels and blocks."""
    changes = shorten(recipe) | {
        "data.train_subset_fraction": 0.03,  # 39 images
        "training.batch_size": 18,
        "training.duration": "2 steps",
    }
    if recipe.augment.progressive_resize:
        sizes = [{"start": "0 steps", "pixels": 6}, {"start": "1 step", "pixels": 7}]
        changes["augment.progressive_resize"] = sizes
    if recipe.training.micro_batch_size:
        changes["training.micro_batch_size"] = 9
    if recipe.model.kind == "resnet":
        changes["model.depths"] = [1] * len(recipe.model.depths)
    return change(recipe, changes)


def settings(tree: Any, path: str = "") -> set[tuple[str, Any]]:
    """What the recipe does, by path: kinds, names and switches as they are, of numbers the sign."""
    if path in IGNORED_KEYS:
        return set()
    if isinstance(tree, dict):
        below = (settings(value, f"{path}.{key}".lstrip(".")) for key, value in tree.items())
        return set().union(*below)
    if isinstance(tree, list) and tree and not all(isinstance(value, str) for value in tree):
        return set().union(*(settings(value, path) for value in tree))
    if isinstance(tree, list):
        return {(path, tuple(tree))}  # the order of layers
    if isinstance(tree, str) and DURATION.match(tree):
        return {(path, "a duration")}
    number = isinstance(tree, int | float) and not isinstance(tree, bool)
    if number and path != "evaluation.tta_views":
        return {(path, "a number" if tree else 0)}
    return {(path, tree)}


SETTINGS = {name: settings(recipe.model_dump(mode="json")) for name, recipe in RECIPES.items()}


def cover_settings() -> list[str]:
    """Few recipes that have all settings of all recipes among them."""
    left, names = set().union(*SETTINGS.values()), []
    while left:
        names.append(max(SETTINGS, key=lambda name: len(SETTINGS[name] & left)))
        left -= SETTINGS[names[-1]]
    return names


RUN = {name: shrink(RECIPES[name]) for name in cover_settings()}
