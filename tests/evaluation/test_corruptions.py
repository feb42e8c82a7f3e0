"""Each corruption by the batch against a slow version of one image; what all of them promise."""

import numpy as np
import pytest
import slow_corruptions
import torch
from scipy import ndimage

from cifarlab.evaluation.corruptions.blur import zoom_matrix
from cifarlab.evaluation.corruptions.digital import pixelate_matrix
from cifarlab.evaluation.corruptions.draws import Draws
from cifarlab.evaluation.corruptions.suite import CORRUPTIONS, SEVERITIES, corrupt
from cifarlab.system.randomness import generator

SLOW = {name: getattr(slow_corruptions, name.replace(" ", "_")) for name in CORRUPTIONS}
SHAPES = [(3, 32, 32, 3), (2, 8, 8, 1), (2, 12, 9, 3)]
# Pillow's box filter rounds once for the rows and once for the columns
LEVELS = {"pixelate": 1.01}


def images(shape: tuple[int, ...]) -> torch.Tensor:
    """Smooth, so that misplaced pixels show by degrees; with black and white in it."""
    draws = np.random.default_rng(0).normal(size=shape)
    smooth = ndimage.gaussian_filter(draws, (0, 1.5, 1.5, 0))
    levels = (127 + 150 * smooth / abs(smooth).max()).clip(0, 255).astype(np.uint8)
    levels[0, 1, 2], levels[0, 3, 4] = 0, 255
    return torch.from_numpy(levels)


class KeptDraws(Draws):
    """Draws that remember what was drawn."""

    def __init__(self, seed: int, name: str) -> None:
        super().__init__(generator(seed, name), torch.device("cpu"))
        self.drawn: list[torch.Tensor] = []

    def send(self, drawn: torch.Tensor) -> torch.Tensor:
        self.drawn.append(drawn)
        return super().send(drawn)


def drawn_for(name: str, draws: KeptDraws, number: int) -> list[np.ndarray]:
    """One image's part of a batch's draws."""
    axis = 3 if name == "glass blur" else 0
    each = [drawn.select(axis, number).numpy() for drawn in draws.drawn]
    return [grid[0] for grid in each] if name == "frost" else each


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_batch_is_each_image_alone(name: str, shape: tuple[int, ...]) -> None:
    given = images(shape)
    for severity in SEVERITIES:
        draws = KeptDraws(1, name)
        changed = CORRUPTIONS[name].apply(given.float() / 255, draws, severity)
        assert changed.shape == shape
        for number, image in enumerate(given.numpy()):
            slow = SLOW[name](image / 255.0, drawn_for(name, draws, number), severity)
            error = np.abs(changed[number].numpy().clip(0, 1) - np.clip(slow, 0, 1)).max()
            assert 255 * error < LEVELS.get(name, 0.1), f"severity {severity}"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_given_images_stay_and_the_same_draws_give_the_same(name: str) -> None:
    given = images(SHAPES[0])
    before = given.clone()
    first, again = (corrupt(given, name, 3, generator(0, name)) for _ in range(2))
    assert torch.equal(given, before)
    assert torch.equal(first, again)
    assert first.dtype == torch.uint8 and first.shape == given.shape
    assert not torch.equal(first, given)


def draws_nothing(name: str) -> bool:
    draws = KeptDraws(0, name)
    CORRUPTIONS[name].apply(images(SHAPES[0]) / 255, draws, 1)
    return not draws.drawn


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_other_draws_give_another_image(name: str) -> None:
    given = images(SHAPES[0])
    first, other = (corrupt(given, name, 3, generator(seed, name)) for seed in (0, 1))
    assert torch.equal(first, other) == draws_nothing(name)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_worst_severity_changes_more_than_the_least(name: str) -> None:
    given = images((64, 32, 32, 3))
    change = [
        (corrupt(given, name, severity, generator(0, name)).float() - given).abs().mean()
        for severity in (1, 5)
    ]
    # elastic moves less and bends more: Hendrycks & Dietterich lower the affine part
    assert (change[1] > change[0]) == (name != "elastic")


def test_fifteen_in_four_families() -> None:
    families = [corruption.family for corruption in CORRUPTIONS.values()]
    assert {f: families.count(f) for f in families} == {
        "noise": 3,
        "blur": 4,
        "weather": 4,
        "digital": 4,
    }


def test_impulses_are_as_frequent_as_said() -> None:
    grey = torch.full((40, 32, 32, 3), 100, dtype=torch.uint8)
    changed = corrupt(grey, "impulse noise", 5, generator(0, "x"))
    for level in (0, 255):
        assert (changed == level).float().mean() == pytest.approx(0.035, abs=0.003)


def test_photons_have_their_mean_and_variance() -> None:
    grey = torch.full((40, 32, 32, 3), 102, dtype=torch.uint8)
    counted = 50 * CORRUPTIONS["shot noise"].apply(grey.float() / 255, KeptDraws(0, "x"), 5)
    assert counted.mean() == pytest.approx(20, abs=0.1)
    assert counted.var() == pytest.approx(20, abs=0.3)


def test_filters_keep_a_flat_image() -> None:
    flat = torch.full((2, 32, 32, 3), 77, dtype=torch.uint8)
    for name, corruption in CORRUPTIONS.items():
        if corruption.family == "blur" or name in ("contrast", "elastic", "pixelate"):
            assert torch.equal(corrupt(flat, name, 5, generator(0, name)), flat), name


@pytest.mark.parametrize("factor", [1.0, 1.05, 1.75, 2.25])
def test_zooming_keeps_the_size(factor: float) -> None:
    assert zoom_matrix(32, factor).shape == (32, 32)
    assert torch.allclose(zoom_matrix(32, factor).sum(1), torch.ones(32, dtype=torch.float64))


def test_pixelating_to_all_pixels_is_nothing() -> None:
    assert torch.equal(pixelate_matrix(8, 1.0), torch.eye(8))
