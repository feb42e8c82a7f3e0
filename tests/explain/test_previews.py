"""What a recipe does to an image, and the activation functions, drawn from the code that trains."""

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cifarlab.cli import app
from cifarlab.explain.previews import draw_activations, preview_augmentation
from cifarlab.explain.tiles import make_tile
from cifarlab.models.layers import ACTIVATIONS
from cifarlab.plots import spec
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.system.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def tiles(plot):
    """The images of a figure, row by row."""
    images = [mark for mark in plot.panels[0].marks if isinstance(mark, spec.Image)]
    rows: dict[float, list[np.ndarray]] = {}
    for image in sorted(images, key=lambda mark: (mark.y, mark.x)):
        rows.setdefault(image.y, []).append(image.pixels)
    return list(rows.values())


def test_each_row_begins_with_the_image_as_it_is_and_a_flip_is_the_image_or_its_mirror():
    recipe = change(find("fudan/resnet24"), {"augment.crop.padding": 0, "augment.vflip": True})
    flips, upside_down, both = tiles(preview_augmentation(recipe, PIXELS))
    for row, axes in ((flips, [None, 1]), (upside_down, [None, 0])):
        assert np.array_equal(row[0], make_tile(PIXELS))
        allowed = [make_tile(PIXELS if axis is None else np.flip(PIXELS, axis)) for axis in axes]
        seen = {i for tile in row[1:] for i, a in enumerate(allowed) if np.array_equal(tile, a)}
        assert seen == {0, 1}
        assert all(any(np.array_equal(tile, a) for a in allowed) for tile in row)
    assert len(both) == 8


def test_a_recipe_that_augments_nothing_is_refused():
    with pytest.raises(UserError, match="augments nothing"):
        preview_augmentation(find("kth2024/baseline"), PIXELS)


def test_activations_and_their_slopes_are_torchs():
    functions, slopes = draw_activations().panels
    named = {m.label: m for m in functions.marks if isinstance(m, spec.Marks)}
    assert list(named) == list(ACTIVATIONS)
    x = torch.as_tensor(named["silu"].x)
    torch.testing.assert_close(torch.as_tensor(named["silu"].y), torch.nn.functional.silu(x))
    sigmoid = next(m for m in slopes.marks if getattr(m, "label", "") == "sigmoid")
    s = torch.sigmoid(x)
    torch.testing.assert_close(torch.as_tensor(sigmoid.y), s * (1 - s))


def test_the_command_draws_all_three(tmp_path):
    Image.fromarray(PIXELS).resize((48, 40)).save(tmp_path / "image.png")
    out = tmp_path / "figures"
    words = ["recipes", "draw", "fudan/resnet24", "--augmentation", str(tmp_path / "image.png")]
    result = CliRunner().invoke(app, [*words, "--activations", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "fudan-resnet24-activations.svg",
        "fudan-resnet24-architecture.svg",
        "fudan-resnet24-augmentation.svg",
    ]
