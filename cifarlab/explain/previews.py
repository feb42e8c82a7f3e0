"""What a recipe does to an image before training sees it, and the activation functions."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cifarlab.augment.draws import BatchDraws
from cifarlab.augment.kinds import AugmentationConfig
from cifarlab.explain.tiles import make_tile
from cifarlab.models.layers import ACTIVATIONS, build_activation
from cifarlab.plots import spec
from cifarlab.plots.grid import Cell, make_grid
from cifarlab.plots.spec import Axis, Marks, Panel, Plot, Rule, label
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import UserError

_DRAWS = 7  # of each augmentation, beside the image as it is


def preview_augmentation(recipe: Recipe, image: np.ndarray) -> Plot:
    """Return an image before and after each augmentation of a recipe, and after all of them.

    Each alone is applied to the image as it is, with the draws that the recipe's seed gives to the
    first step. Mixing, which needs other images, and progressive sizes are left out.

    Args:
        recipe: whose augmentation it is
        image: uint8 (H, W, C)

    Raises:
        UserError: where the recipe augments nothing
        RecipeError: for an augmentation that the image is too small or too grey for
    """
    pipeline = recipe.augment.pipeline()
    if not pipeline:
        raise UserError(
            f"{recipe.name} augments nothing that can be drawn",
            "take another recipe, or set a key of augment (cifarlab recipes keys)",
        )
    for augmentation in pipeline.values():
        augmentation.check(image.shape)
    rows = {
        key: _apply([augmentation], recipe.seed, image) for key, augmentation in pipeline.items()
    }
    if len(rows) > 1:
        rows["all of them"] = _apply(list(pipeline.values()), recipe.seed, image)
    cells = [
        Cell([make_tile(tile)], ["as it is"] if row == index == 0 else [])
        for row, images in enumerate(rows.values())
        for index, tile in enumerate([image, *images])
    ]
    title = f"{label(recipe.name)}: each augmentation alone, {_DRAWS} draws"
    return make_grid(cells, _DRAWS + 1, title, row_names=list(rows))


def _apply(pipeline: list[AugmentationConfig], seed: int, image: np.ndarray) -> np.ndarray:
    """The image after each of several draws: uint8 (_DRAWS, H, W, C)."""
    images = torch.from_numpy(image).expand(_DRAWS, *image.shape).contiguous()
    draws = BatchDraws(seed, 0, 0, torch.arange(_DRAWS))
    for augmentation in pipeline:
        purpose = f"augmentation {augmentation.kind}"
        images = augmentation.apply(images, replace(draws, purpose=purpose))
    return images.float().round().clamp(0, 255).to(torch.uint8).numpy()


def draw_activations() -> Plot:
    """Return all activation functions, and their slopes, between -4 and 8."""
    x = torch.linspace(-4, 8, 601).requires_grad_()
    functions, slopes = [], []
    for index, name in enumerate(ACTIVATIONS):
        y = build_activation(name, inplace=False)(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        look = (spec.CYCLE[index % len(spec.CYCLE)], 1.4, "-" if index < len(spec.CYCLE) else "--")
        points = x.detach().numpy()
        functions.append(Marks(points, y.detach().numpy(), name, *look))
        slopes.append(Marks(points, slope.numpy(), name, *look))
    axes = [Rule(0), Rule(0, flat=True)]
    panels = [
        Panel([*axes, *functions], Axis("x"), Axis("f(x)", (-1.5, 8))),
        Panel([*axes, *slopes], Axis("x"), Axis("f'(x)", (-0.3, 1.3))),
    ]
    title = "Activation functions and their slopes; prelu as it starts"
    layout: dict[str, Any] = {"width": spec.WIDE, "height": 3.4, "columns": 2, "title": title}
    return Plot(panels, **layout, legend="below", legend_columns=4)
