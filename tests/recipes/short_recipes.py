"""Any recipe, made so small that it trains in a second: digits, two epochs, narrow networks."""

from typing import Any

from cifarlab.models.cnn import CNNConfig
from cifarlab.recipes.schema import Recipe

NARROWER = 8


def shorten(recipe: Recipe) -> dict[str, Any]:
    """The changes that make it so; whatever else the recipe says stays."""
    changes: dict[str, Any] = {
        "data.source": "digits",
        "data.train_subset_fraction": 0.1,
        "training.duration": "2 epochs",
        "training.batch_size": 32,
        "training.precision": "float32",
    }
    model = recipe.model
    if not isinstance(model, CNNConfig):
        changes["model.channels"] = [max(8, width // NARROWER) for width in model.channels]
    elif model.padding == "valid":  # of 8 x 8 pixels it would leave nothing
        changes["model.padding"] = "same"
    if recipe.augment.cutout:  # the digits have 8 x 8 pixels
        changes["augment.cutout"] = 3
    if recipe.training.selective_backprop.image_size:
        changes["training.selective_backprop.image_size"] = 5
    for name in ("saturation", "hue"):  # and are grey
        if getattr(recipe.augment.color_jitter, name):
            changes[f"augment.color_jitter.{name}"] = 0
    if recipe.augment.progressive_resize:
        changes["augment.progressive_resize"] = [{"start": "0 epochs", "pixels": 6}]
    return changes
