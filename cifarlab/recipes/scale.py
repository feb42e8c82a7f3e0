"""Make a recipe shorter for a small machine: fewer images and epochs, all else in proportion.

At a scale of f, training has f of the images and f of the epochs, so f**2 of the steps. Durations
in epochs or steps, and settings per step or per epoch, are converted so that they cover the same
fraction of the run. Fractions of the run, validation, test and the batch size do not change.
"""

from decimal import Decimal
from typing import Any

from cifarlab.config.base import Config
from cifarlab.config.duration import Duration
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build
from cifarlab.system.errors import UserError


def scale_recipe(recipe: Recipe, scale: float) -> Recipe:
    """Return the recipe at a scale in (0, 1]; at 1 it is the same recipe.

    Raises:
        UserError: the scale is out of range
    """
    if not 0 < scale <= 1:
        raise UserError(f"a scale of {scale:g} is no part of the study", "take 0 < scale <= 1")
    if scale == 1:
        return recipe
    tree = _scale_values(recipe, scale)
    tree["data"]["train_subset_fraction"] = recipe.data.train_subset_fraction * scale
    return build(tree, f"{recipe.name} at scale {scale:g}")


def describe_scale(scale: float) -> str:
    """Return a sentence that says what a scale did to a study or search."""
    return f"At scale {scale:g}: {scale:g} of the training images and {scale:g} of the epochs."


def _scale_values(value: Any, scale: float) -> Any:
    """Return any part of a recipe as plain values with its durations scaled."""
    if isinstance(value, Duration):
        return _scale_duration(value, scale)
    if isinstance(value, tuple):
        return [_scale_values(item, scale) for item in value]
    if not isinstance(value, Config):
        return value
    tree = {name: _scale_values(getattr(value, name), scale) for name in type(value).model_fields}
    return tree | value.scaled(scale)


def _scale_duration(duration: Duration, scale: float) -> str:
    factor = Decimal(str(scale))
    if duration.unit == "epochs":
        return str(Duration(duration.value * factor, "epochs"))
    if duration.unit == "steps":
        steps = (duration.value * factor * factor).to_integral_value()
        return str(Duration(max(steps, min(duration.value, Decimal(1))), "steps"))
    return str(duration)
