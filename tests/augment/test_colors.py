"""Saturation, hue and noise against slow versions; jitter is in test_transforms.py."""

import colorsys
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from cifarlab.augment.colors import adjust_brightness_contrast, adjust_hue, adjust_saturation
from cifarlab.augment.draws import BatchDraws
from cifarlab.augment.pipeline import Augmentation
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError

SHAPE = (6, 5, 3)


def images_of(count, channels=3, seed=0):
    shape = (count, 6, 5, channels)
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    images[0] = images[0, :, :, :1]  # grey
    images[-1, :, :, channels // 2] = images[-1, :, :, 0]  # two channels tie
    return images


def augmentation(seed=0, shape=SHAPE, **parts):
    return Augmentation(build({"augment": parts}).augment, shape, seed)


def sample_brightness_contrast(augment, count, epoch, step):
    draws = BatchDraws(augment.seed, epoch, step, torch.arange(count))
    return augment.pipeline["color_jitter"].sample_brightness_contrast(draws)


def sample_saturation_hue(augment, count, epoch, step):
    draws = BatchDraws(augment.seed, epoch, step, torch.arange(count))
    return augment.pipeline["color_jitter"].sample_saturation_hue(draws)


def augment_images(augment, images, epoch=0, step=0):
    return augment(torch.as_tensor(images), torch.arange(len(images)), epoch, step)


def adjust_saturation_slowly(images, factors):
    out = np.empty(images.shape)
    for n, i, j in np.ndindex(*images.shape[:3]):
        red, green, blue = images[n, i, j].astype(float)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        out[n, i, j] = [grey + (value - grey) * factors[n] for value in (red, green, blue)]
    return out


def adjust_hue_slowly(images, turns):
    out = np.empty(images.shape)
    for n, i, j in np.ndindex(*images.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*images[n, i, j] / 255)
        pixel = colorsys.hsv_to_rgb((hue + turns[n]) % 1, saturation, value)
        out[n, i, j] = np.array(pixel) * 255
    return out


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_saturated_is_the_slow_one(dtype):
    images, factors = images_of(6), np.linspace(0, 2, 6)
    got = adjust_saturation(torch.from_numpy(images).to(dtype), torch.from_numpy(factors).float())
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, adjust_saturation_slowly(images, factors), atol=1e-3)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_saturation_is_pillow_s_but_for_rounding_and_clipping(factor):
    images = images_of(4)
    got = adjust_saturation(torch.from_numpy(images), torch.full((4,), factor)).clamp(0, 255)
    for image, mine in zip(images, got.numpy(), strict=True):
        theirs = np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(factor))
        assert np.abs(mine - theirs).max() <= 1.5  # a rounded grey, and another rounding


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_turned_hue_is_the_one_of_the_standard_library(dtype):
    images, turns = images_of(9), np.linspace(-0.5, 0.5, 9)
    got = adjust_hue(torch.from_numpy(images).to(dtype), torch.from_numpy(turns).float())
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, adjust_hue_slowly(images, turns), atol=2e-3)


def test_a_third_of_the_circle_makes_red_green():
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).expand(1, 1, 1, 3)
    got = adjust_hue(red, torch.tensor([1 / 3])).flatten()
    np.testing.assert_allclose(got, [0, 255, 0], atol=1e-3)


@pytest.mark.parametrize("change", [adjust_saturation, adjust_hue])
def test_grey_images_stay_as_they_are(change):
    images = torch.from_numpy(images_of(3, channels=1))
    assert torch.equal(change(images, torch.full((3,), 0.4)), images.float())


@pytest.mark.parametrize("change", [adjust_saturation, adjust_hue])
def test_the_caller_s_images_stay_as_they_are(change):
    images = torch.from_numpy(images_of(3)).float()
    before = images.clone()
    assert not torch.equal(change(images, torch.full((3,), 0.4)), before)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("part", "ranges"),
    [
        ({"saturation": 0.4}, ((0.6, 1.4), (0, 0))),
        ({"hue": 0.1}, ((1, 1), (-0.1, 0.1))),
        ({"saturation": 0.9, "hue": 0.5}, ((0.1, 1.9), (-0.5, 0.5))),
    ],
    ids=str,
)
def test_draws_are_uniform_in_their_range(part, ranges):
    draws = sample_saturation_hue(augmentation(color_jitter=part), 20_000, 0, 0)
    for drawn, (low, high) in zip(draws, ranges, strict=True):
        if low == high:
            assert (drawn == low).all()
            continue
        assert low - 1e-6 <= drawn.min() and drawn.max() <= high + 1e-6
        quarters = torch.histc(drawn, 4, low, high)  # 5,000 expected of each, std 61
        assert (quarters - 5000).abs().max() < 300


def test_brightness_and_contrast_come_before_saturation_and_that_before_hue():
    images = images_of(8)
    part = {"brightness_shift": 0.2, "contrast": 0.5, "saturation": 0.5, "hue": 0.3}
    augment = augmentation(color_jitter=part)
    shifts, factors = sample_brightness_contrast(augment, 8, 2, 3)
    saturations, turns = sample_saturation_hue(augment, 8, 2, 3)
    first = adjust_brightness_contrast(torch.from_numpy(images), shifts, factors)
    expected = adjust_hue(adjust_saturation(first, saturations), turns)
    torch.testing.assert_close(augment_images(augment, images, 2, 3), expected)
    other_way = adjust_brightness_contrast(
        adjust_hue(torch.from_numpy(images), turns), shifts, factors
    )
    assert not torch.allclose(expected, adjust_saturation(other_way, saturations), atol=1)


def test_noise_is_gaussian_of_that_sigma_and_independent_for_each_value():
    images = np.full((40, 32, 32, 3), 128, np.uint8)
    got = augment_images(augmentation(gaussian_noise={"sigma": 0.1}, shape=(32, 32, 3)), images)
    assert got.dtype == torch.float32
    noise = (got - 128) / 25.5
    assert abs(noise.mean()) < 0.02  # 122,880 values: std of the mean 0.003
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert (noise.abs() > 1.96).double().mean().item() == pytest.approx(0.05, abs=0.005)
    channels = np.corrcoef(noise.reshape(-1, 3).T.numpy())
    assert np.abs(channels - np.eye(3)).max() < 0.03
    assert got.max() > 200  # nothing ties the images together
    assert len({float(value) for value in noise[:, 0, 0, 0]}) == 40


def test_noise_leaves_the_range_rather_than_being_clipped():
    got = augment_images(
        augmentation(gaussian_noise={"sigma": 0.1}), np.zeros((4, *SHAPE), np.uint8)
    )
    assert got.min() < 0


@pytest.mark.parametrize(
    "part",
    [
        {"color_jitter": {"saturation": 0.5}},
        {"color_jitter": {"hue": 0.2}},
        {"gaussian_noise": {"sigma": 0.1}},
    ],
    ids=str,
)
def test_draws_are_new_in_each_epoch_step_and_seed_and_else_the_same(part):
    images = images_of(30)[1:]
    times = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    made = [
        augment_images(augmentation(seed, **part), images, epoch, step)
        for seed, epoch, step in times
    ]
    for first, second in combinations(made, 2):
        assert (first != second).flatten(1).any(1).all()
    assert torch.equal(made[0], augment_images(augmentation(0, **part), images))


@pytest.mark.parametrize("what", ["saturation", "hue"])
def test_saturation_and_hue_of_grey_images_are_refused(what):
    with pytest.raises(RecipeError, match="change nothing in grey images"):
        augmentation(shape=(6, 5, 1), color_jitter={what: 0.1})
    augmentation(shape=(6, 5, 1), color_jitter={"contrast": 0.1, "brightness_shift": 0.1})
