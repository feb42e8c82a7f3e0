"""Named recipes, one module per report, each derived from another by copy-and-change.

A named recipe is a function without arguments whose docstring carries its source, what the
source leaves open and what was chosen, and what to expect, as measured.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cifarlab.recipes
from cifarlab.config.plugins import Plugin, decisive_plugins
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change, find_or_read, from_yaml

_REGISTRY: dict[str, Callable[[], Recipe]] = {}
_REPORTED: dict[str, "ReportedAccuracy"] = {}


class ReportedAccuracy(NamedTuple):
    """A source's accuracy in per cent, and what it was measured on."""

    accuracy: float
    data: str
    split: Literal["test", "val"]


def register_recipe(
    name: str,
    reported: float | None = None,
    on: str = "CIFAR-10",
    split: Literal["test", "val"] = "test",
) -> Callable[[Callable[[], Recipe]], Callable[[], Recipe]]:
    """Register a recipe function; the recipe it returns carries ``name``.

    ``reported`` is the accuracy in per cent that its source gives, ``on`` the ``split`` of some
    images.
    """

    def register(make: Callable[[], Recipe]) -> Callable[[], Recipe]:
        if name in _REGISTRY:
            raise ValueError(f"two recipes are called {name}")

        def carrying_its_name() -> Recipe:
            return make().model_copy(update={"name": name})

        carrying_its_name.__doc__ = make.__doc__
        _REGISTRY[name] = carrying_its_name
        if reported is not None:
            _REPORTED[name] = ReportedAccuracy(reported, on, split)
        return carrying_its_name

    return register


def shipped_recipes() -> dict[str, Callable[[], Recipe]]:
    """All named recipes by name."""
    for module in pkgutil.iter_modules(cifarlab.recipes.__path__):
        importlib.import_module(f"cifarlab.recipes.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def register_variant(
    name: str,
    base: Callable[[], Recipe],
    changes: Mapping[str, Any],
    text: str,
    reported: float | None = None,
    on: str = "CIFAR-10",
) -> Callable[[], Recipe]:
    """Register a recipe that is another one with settings changed, and return its function.

    ``text`` is its docstring but for the source's number, in per cent ``on`` some images, and the
    command.
    """

    def make() -> Recipe:
        return change(base(), changes)

    number = "" if reported is None else f"Reported: {reported:g} % on {on} (one run). "
    make.__doc__ = f"{text}\n{number}Command: cifarlab train {name}\n"
    return register_recipe(name, reported, on)(make)


def reported_accuracy(name: str) -> ReportedAccuracy | None:
    """The accuracy that the source of that shipped recipe gives; None where it gives none."""
    shipped_recipes()
    return _REPORTED.get(name)


def usual_shape(recipe: Recipe) -> tuple[tuple[int, int, int], int]:
    """Image shape (H, W, C) and classes K of the recipe's data, as far as its source knows.

    A folder or archive is taken for one like CIFAR-10: (32, 32, 3) and 10.
    """
    data = recipe.data
    usual = data.source.usual(data.label_mode)
    height, width, channels = usual.image_shape
    size = data.images.size
    channels = {"auto": channels, "grey": 1, "rgb": 3}[data.images.channels]
    return (size or height, size or width, channels), usual.classes


def usual_images(recipe: Recipe) -> int:
    """How many images the recipe trains on, as far as its data's source knows.

    A folder or archive is taken for one like CIFAR-10: 50,000 with those for validation.
    """
    data = recipe.data
    usual = data.source.usual(data.label_mode)
    cuts_test = usual.splits is not None and "test" not in usual.splits
    cuts_val = usual.splits is None or "val" not in usual.splits
    kept = (1 - data.test_fraction if cuts_test else 1) * (1 - data.val_fraction if cuts_val else 1)
    return round(usual.images * kept * data.train_subset_fraction)


def usual_splits(recipe: Recipe) -> tuple[str, ...]:
    """The splits that the recipe's data bring, as far as their source knows."""
    return recipe.data.source.usual(recipe.data.label_mode).splits or ("train",)


def _label(path: Path) -> str:
    """A file's name as a recipe's name, which may hold no spaces and the like."""
    return re.sub(r"[^\w.+-]+", "-", path.stem)[:30].strip("-.") or "unnamed"


def describe(name: str) -> str:
    """A shipped recipe's docstring as YAML comments; empty for a file."""
    make = shipped_recipes().get(name)
    text = inspect.cleandoc(make.__doc__ or "") if make else ""
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def find(name: str, plugins: Sequence[Plugin] = ()) -> Recipe:
    """The shipped recipe called ``name``, or the one in the YAML file of that path.

    It names those of ``plugins``, which are loaded, that can decide something. Raises RecipeError,
    with the nearest shipped name, and PluginError.
    """
    plugins = decisive_plugins(plugins)
    read = partial(_read_recipe, plugins=plugins)
    recipe = find_or_read("recipe", "recipes list", name, shipped_recipes(), read)()
    return recipe.add_plugins(plugins)


def _read_recipe(path: Path, plugins: Sequence[Plugin]) -> Callable[[], Recipe]:
    recipe = from_yaml(path, plugins)
    if recipe.name != Recipe.model_fields["name"].default:
        return lambda: recipe
    return lambda: build(recipe.model_dump() | {"name": _label(path)}, str(path))
