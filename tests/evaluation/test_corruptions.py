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


class RecordingDraws(Draws):
    """Draws that record their tensors."""

    def __init__(self, seed: int, name: str) -> None:
        super().__init__(generator(seed, name), torch.device("cpu"))
        self.tensors: list[torch.Tensor] = []

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        self.tensors.append(tensor)
        return super().send(tensor)


def draws_of_image(name: str, draws: RecordingDraws, number: int) -> list[np.ndarray]:
    """One image's part of a batch's draws."""
    axis = 3 if name == "glass blur" else 0
    each = [tensor.select(axis, number).numpy() for tensor in draws.tensors]
    return [grid[0] for grid in each] if name == "frost" else each


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_batch_is_each_image_alone(name: str, shape: tuple[int, ...]) -> None:
    batch = images(shape)
    for severity in SEVERITIES:
        draws = RecordingDraws(1, name)
        corrupted = CORRUPTIONS[name].apply(batch.float() / 255, draws, severity)
        assert corrupted.shape == shape
        for number, image in enumerate(batch.numpy()):
            slow = SLOW[name](image / 255.0, draws_of_image(name, draws, number), severity)
            error = np.abs(corrupted[number].numpy().clip(0, 1) - np.clip(slow, 0, 1)).max()
            assert 255 * error < LEVELS.get(name, 0.1), f"severity {severity}"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_input_images_stay_and_the_same_draws_give_the_same(name: str) -> None:
    batch = images(SHAPES[0])
    before = batch.clone()
    first, second = (corrupt(batch, name, 3, generator(0, name)) for _ in range(2))
    assert torch.equal(batch, before)
    assert torch.equal(first, second)
    assert first.dtype == torch.uint8 and first.shape == batch.shape
    assert not torch.equal(first, batch)


def uses_no_draws(name: str) -> bool:
    draws = RecordingDraws(0, name)
    CORRUPTIONS[name].apply(images(SHAPES[0]) / 255, draws, 1)
    return not draws.tensors


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_other_draws_give_another_image(name: str) -> None:
    batch = images(SHAPES[0])
    first, other = (corrupt(batch, name, 3, generator(seed, name)) for seed in (0, 1))
    assert torch.equal(first, other) == uses_no_draws(name)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_worst_severity_changes_more_than_the_least(name: str) -> None:
    batch = images((64, 32, 32, 3))
    change = [
        (corrupt(batch, name, severity, generator(0, name)).float() - batch).abs().mean()
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


def test_impulses_have_the_frequency_of_their_severity() -> None:
    grey = torch.full((40, 32, 32, 3), 100, dtype=torch.uint8)
    corrupted = corrupt(grey, "impulse noise", 5, generator(0, "x"))
    for level in (0, 255):
        assert (corrupted == level).float().mean() == pytest.approx(0.035, abs=0.003)


def test_photons_have_their_mean_and_variance() -> None:
    grey = torch.full((40, 32, 32, 3), 102, dtype=torch.uint8)
    n_photons = 50 * CORRUPTIONS["shot noise"].apply(grey.float() / 255, RecordingDraws(0, "x"), 5)
    assert n_photons.mean() == pytest.approx(20, abs=0.1)
    assert n_photons.var() == pytest.approx(20, abs=0.3)


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
