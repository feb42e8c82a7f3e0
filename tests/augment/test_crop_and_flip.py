"""Crop and mirror against slow versions that go image by image and pixel by pixel."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cifarlab.augment.draws import BatchDraws
from cifarlab.augment.pipeline import Augmentation
from cifarlab.augment.transforms import crop, flip
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError

SHAPE = (6, 5, 3)


def images_of(count, height, width, channels, seed=0):
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def augmentation(flip="none", padding=0, mode="constant", seed=0, shape=SHAPE):
    tree = {"augment": {"hflip": flip, "crop": {"padding": padding, "padding_mode": mode}}}
    return Augmentation(build(tree).augment, shape, seed)


def sample_hflips(augment, indices, epoch, step):
    return augment.pipeline["hflip"].sample(BatchDraws(augment.seed, epoch, step, indices))


def pixel(image, row, column, mode):
    """The pixel at a place that may lie outside of the image."""
    height, width, channels = image.shape
    if mode == "reflect":
        while not 0 <= row < height:
            row = -row if row < 0 else 2 * (height - 1) - row
        while not 0 <= column < width:
            column = -column if column < 0 else 2 * (width - 1) - column
    if 0 <= row < height and 0 <= column < width:
        return image[row, column]
    return np.zeros(channels, np.uint8)


def slow_crop(images, offsets, padding, mode):
    out = np.empty_like(images)
    for n, (top, left) in enumerate(offsets):
        for i in range(images.shape[1]):
            for j in range(images.shape[2]):
                out[n, i, j] = pixel(images[n], i + top - padding, j + left - padding, mode)
    return out


def slow_mirror(images, mask):
    out = images.copy()
    width = images.shape[2]
    for n in np.flatnonzero(mask):
        for j in range(width):
            out[n, :, j] = images[n, :, width - 1 - j]
    return out


@given(
    count=st.integers(1, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(0, 9),
    mode=st.sampled_from(["constant", "reflect"]),
    data=st.data(),
)
@settings(max_examples=120)
def test_crop_is_the_slow_crop(count, height, width, channels, padding, mode, data):
    if mode == "reflect":
        padding = min(padding, height - 1, width - 1)
    images = images_of(count, height, width, channels)
    offset = st.integers(0, 2 * padding)
    offsets = data.draw(st.lists(st.tuples(offset, offset), min_size=count, max_size=count))
    got = crop(torch.from_numpy(images), torch.tensor(offsets), padding, mode)
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got.numpy(), slow_crop(images, offsets, padding, mode))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_the_middle_window_is_the_image(mode):
    images = torch.from_numpy(images_of(2, 5, 6, 3))
    assert torch.equal(crop(images, torch.full((2, 2), 3), 3, mode), images)


@given(
    height=st.integers(1, 5),
    width=st.integers(1, 6),
    channels=st.sampled_from([1, 3]),
    mask=st.lists(st.booleans(), min_size=1, max_size=4),
)
@settings(max_examples=50)
def test_mirror_is_the_slow_mirror(height, width, channels, mask):
    images = images_of(len(mask), height, width, channels)
    got = flip(torch.from_numpy(images), torch.tensor(mask))
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got.numpy(), slow_mirror(images, mask))


@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
@pytest.mark.parametrize("padding", [0, 2])
def test_the_caller_s_images_stay_as_they_are(flip, padding):
    images = torch.from_numpy(images_of(8, *SHAPE))
    before = images.clone()
    augmentation(flip, padding)(images, torch.arange(8), 0, 0)
    assert torch.equal(images, before)


def test_none_of_both_is_the_image_itself():
    images = torch.from_numpy(images_of(8, *SHAPE))
    assert torch.equal(augmentation()(images, torch.arange(8), 3, 4), images)


def test_every_window_is_drawn_about_equally_often():
    # one bright pixel in the middle shows where each window lay
    images = torch.zeros(9000, 5, 5, 1, dtype=torch.uint8)
    images[:, 2, 2] = 255
    got = augmentation(padding=1, shape=(5, 5, 1))(images, torch.arange(9000), 0, 0)
    positions, counts = got.flatten(1).argmax(1).unique(return_counts=True)
    assert positions.tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    # 1000 expected of each, std 30
    assert counts.min() > 850
    assert counts.max() < 1150


def test_the_windows_are_new_in_each_epoch_step_and_seed():
    images = torch.from_numpy(images_of(50, *SHAPE))
    times = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    cut = [
        augmentation(padding=2, seed=seed)(images, torch.arange(50), epoch, step)
        for seed, epoch, step in times
    ]
    for first, second in combinations(cut, 2):
        assert (first != second).flatten(1).any(1).double().mean() > 0.8


def test_random_flips_pick_half():
    augment = augmentation("random")
    fraction = sample_hflips(augment, torch.arange(20_000), 0, 0).double().mean().item()
    assert fraction == pytest.approx(0.5, abs=0.02)  # std 0.0035


def test_a_random_flip_is_new_in_each_epoch_and_step():
    augment = augmentation("random")
    draws = [sample_hflips(augment, torch.arange(99), e, s) for e, s in ((0, 0), (0, 1), (1, 0))]
    same = [(a == b).double().mean().item() for a in draws for b in draws if a is not b]
    assert max(same) < 0.8


def test_alternating_shows_both_sides_in_any_two_epochs_in_a_row():
    augment = augmentation("alternating")
    indices = torch.randperm(500)
    sides = [sample_hflips(augment, indices, epoch, 0) for epoch in range(5)]
    for mask, other_mask in pairwise(sides):
        assert torch.equal(mask, ~other_mask)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_alternating_flips_about_half_in_each_epoch(epoch):
    flips = sample_hflips(augmentation("alternating"), torch.arange(20_000), epoch, 0)
    assert flips.double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_alternating_depends_on_the_image_not_on_its_batch_or_step():
    all_flips = sample_hflips(augmentation("alternating"), torch.arange(1000), 3, 0)
    augment = augmentation("alternating")  # asked for few images first: its draw must grow
    for step, indices in enumerate(torch.randperm(1000).split([1, 2, 15, 17, 300, 665])):
        assert torch.equal(sample_hflips(augment, indices, 3, step), all_flips[indices])


@pytest.mark.parametrize("flip", ["random", "alternating"])
def test_the_seed_decides_the_flips(flip):
    mask, same_mask, other_mask = (
        sample_hflips(augmentation(flip, seed=seed), torch.arange(99), 0, 0) for seed in (1, 1, 2)
    )
    assert torch.equal(mask, same_mask)
    assert not torch.equal(mask, other_mask)


@pytest.mark.parametrize(
    ("padding", "shape", "most"), [(8, (8, 8, 1), 7), (32, (32, 32, 3), 31), (5, (9, 5, 3), 4)]
)
def test_a_reflection_wider_than_the_image_is_refused(padding, shape, most):
    with pytest.raises(RecipeError) as caught:
        augmentation(padding=padding, mode="reflect", shape=shape)
    what, hint = str(caught.value).split("\n")
    assert what.startswith(f"augment.crop: padding={padding} can't be reflected")
    assert hint == f"take at most {most}, or padding_mode=constant"
    augmentation(padding=most, mode="reflect", shape=shape)
    augmentation(padding=padding, mode="constant", shape=shape)
