"""Jitter, cutout and shrinking against slow versions, and what ``Augmentation`` draws for them."""

import itertools
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from cifarlab.augment.colors import adjust_brightness_contrast
from cifarlab.augment.draws import BatchDraws
from cifarlab.augment.kinds import AugmentationConfig
from cifarlab.augment.pipeline import Augmentation
from cifarlab.augment.transforms import cutout, downsample
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError

SHAPE = (10, 8, 3)


def images_of(count, height, width, channels, seed=0):
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def augmentation(seed=0, shape=SHAPE, **parts):
    return Augmentation(build({"augment": parts}).augment, shape, seed)


def sample_brightness_contrast(augment, count, epoch, step):
    draws = BatchDraws(augment.seed, epoch, step, torch.arange(count))
    return augment.pipeline["color_jitter"].sample_brightness_contrast(draws)


def sample_cutout_corners(augment, shape, epoch, step):
    count, *sides = shape
    draws = BatchDraws(augment.seed, epoch, step, torch.arange(count))
    return augment.pipeline["cutout"].sample(sides, draws)


def augment_images(augment, images, epoch=0, step=0):
    return augment(torch.as_tensor(images), torch.arange(len(images)), epoch, step)


def slow_jitter(images, shifts, factors):
    out = np.empty(images.shape)
    for n, image in enumerate(images.astype(np.float64)):
        mean = image.mean()
        out[n] = mean + (image - mean) * factors[n] + 255 * shifts[n]
    return out


def slow_cutout(images, corners, side):
    out = images.copy()
    for image, (top, left) in zip(out, corners, strict=True):
        for row, column in itertools.product(range(top, top + side), range(left, left + side)):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                image[row, column] = 127
    return out


def slow_row_weights(size, wanted):
    """Weights of one axis, pixel by pixel: a triangle that reaches size / wanted to both sides."""
    scale = size / wanted
    weights = np.zeros((wanted, size))
    for new in range(wanted):
        for old in range(size):
            distance = abs((old + 0.5) - (new + 0.5) * scale)
            weights[new, old] = max(0.0, 1 - distance / scale)
        weights[new] /= weights[new].sum()
    return weights


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_jitter_is_the_slow_jitter(dtype):
    images = images_of(7, 5, 6, 3)
    shifts, factors = np.random.default_rng(1).uniform(-1, 1, (2, 7))
    given_shifts, given_factors = torch.tensor(shifts).float(), torch.tensor(1 + factors).float()
    got = adjust_brightness_contrast(
        torch.from_numpy(images).to(dtype), given_shifts, given_factors
    )
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, slow_jitter(images, shifts, 1 + factors), atol=2e-4)


def test_jitter_clips_nothing_and_keeps_each_mean():
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(8).reshape(1, 2, 4, 2)
    got = adjust_brightness_contrast(images, torch.tensor([0.0]), torch.tensor([1.5]))
    assert (got.min().item(), got.max().item()) == (-63.75, 318.75)
    assert got.mean().item() == 127.5
    assert adjust_brightness_contrast(images, torch.tensor([1.0]), torch.tensor([1.0])).max() == 510


@given(
    side=st.integers(1, 5),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
    data=st.data(),
)
@settings(max_examples=60)
def test_cutout_is_the_slow_cutout(side, channels, dtype, data):
    images = images_of(3, 7, 6, channels)
    corner = st.tuples(st.integers(-6, 8), st.integers(-6, 8))  # also beyond the border
    corners = data.draw(st.lists(corner, min_size=3, max_size=3))
    got = cutout(torch.from_numpy(images).to(dtype), torch.tensor(corners), side)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.to(torch.uint8), slow_cutout(images, corners, side))


SIZES = [(32, 32, 16), (32, 32, 20), (32, 32, 31), (9, 9, 8), (96, 96, 17), (8, 12, 5), (13, 8, 7)]


@pytest.mark.parametrize(("height", "width", "pixels"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shrunk_is_the_slow_sum_over_pixels(height, width, pixels, channels):
    images = images_of(2, height, width, channels)
    got = downsample(torch.from_numpy(images), pixels)
    rows = slow_row_weights(height, got.shape[1])
    columns = slow_row_weights(width, got.shape[2])
    expected = np.empty(got.shape)
    for n, i, j, c in np.ndindex(*got.shape):
        expected[n, i, j, c] = rows[i] @ images[n, :, :, c] @ columns[j]
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize(("height", "width", "pixels"), SIZES)
@pytest.mark.parametrize("count", [1, 3, 601])  # 601: in several pieces, the last of another size
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shrunk_is_pytorch_s_antialiased_bilinear(height, width, pixels, count, dtype):
    images = torch.from_numpy(images_of(count, height, width, 3)).to(dtype)
    got = downsample(images, pixels)
    size = tuple(got.shape[1:3])
    channels_first = images.permute(0, 3, 1, 2).float()
    expected = interpolate(channels_first, size, mode="bilinear", antialias=True)
    torch.testing.assert_close(got, expected.permute(0, 2, 3, 1), rtol=0, atol=255e-3 / 100)


@pytest.mark.parametrize(
    ("shape", "pixels", "wanted"),
    [
        ((32, 32, 3), 20, (20, 20, 3)),
        ((8, 16, 1), 6, (6, 12, 1)),
        ((16, 8, 1), 6, (12, 6, 1)),
        ((8, 13, 3), 4, (4, 7, 3)),  # 6.5, rounded half up
        ((10, 13, 3), 4, (4, 5, 3)),  # 5.2
        ((96, 96, 1), 4, (4, 4, 1)),
    ],
)
def test_the_short_side_gets_the_pixels_and_the_long_one_keeps_the_ratio(shape, pixels, wanted):
    got = downsample(torch.zeros(2, *shape), pixels)
    assert got.shape == (2, *wanted)
    assert got.is_contiguous()  # what the network calls channels_last


def test_a_grey_image_stays_grey_to_the_border():
    got = downsample(torch.full((1, 32, 32, 3), 200, dtype=torch.uint8), 11)
    torch.testing.assert_close(got, torch.full_like(got, 200))


@pytest.mark.parametrize("pixels", [8, 9, 96])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_what_is_no_larger_is_returned_itself(pixels, dtype):
    images = torch.zeros(2, 10, 8, 3, dtype=dtype)
    assert downsample(images, pixels) is images


def test_shrinking_is_exact_where_the_network_computes_in_bfloat16():
    images = torch.from_numpy(images_of(2, 32, 32, 3))
    with torch.autocast("cpu", torch.bfloat16):
        got = downsample(images, 20)
    assert torch.equal(got, downsample(images, 20))


@pytest.mark.parametrize(
    "change",
    [
        lambda images: adjust_brightness_contrast(
            images, torch.full((4,), 0.1), torch.full((4,), 1.2)
        ),
        lambda images: cutout(images, torch.ones(4, 2, dtype=torch.int64), 3),
        lambda images: downsample(images, 5),
    ],
    ids=["jitter", "cutout", "downsample"],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_caller_s_images_stay_as_they_are(change, dtype):
    images = torch.from_numpy(images_of(4, *SHAPE)).to(dtype)
    before = images.clone()
    assert not torch.equal(change(images), before)
    assert torch.equal(images, before)


def test_without_jitter_and_cutout_nothing_is_converted_or_drawn():
    images = torch.from_numpy(images_of(4, *SHAPE))
    augment = augmentation()
    augment.jitters = augment.corners = None  # a call would fail
    assert augment_images(augment, images) is images


@pytest.mark.parametrize(
    ("part", "range_of"),
    [
        ({"brightness_shift": 0.2}, ((-0.2, 0.2), (1, 1))),
        ({"contrast": 0.4}, ((0, 0), (0.6, 1.4))),
        ({"brightness_shift": 0.2, "contrast": 0.4}, ((-0.2, 0.2), (0.6, 1.4))),
    ],
    ids=["brightness", "contrast", "both"],
)
def test_jitter_draws_are_uniform_in_their_range(part, range_of):
    draws = sample_brightness_contrast(augmentation(color_jitter=part), 20_000, 0, 0)
    for drawn, (low, high) in zip(draws, range_of, strict=True):
        assert drawn.dtype == torch.float32
        if low == high:
            assert (drawn == low).all()
            continue
        assert low <= drawn.min() <= low + 0.001
        assert high - 0.001 <= drawn.max() <= high
        quarters = torch.histc(drawn, 4, low, high)  # 5,000 expected of each, std 61
        assert (quarters - 5000).abs().max() < 300


def test_brightness_and_contrast_are_drawn_apart():
    shifts, factors = sample_brightness_contrast(
        augmentation(color_jitter={"brightness_shift": 0.2, "contrast": 0.4}), 9999, 0, 0
    )
    assert abs(torch.corrcoef(torch.stack([shifts, factors]))[0, 1]) < 0.05


def test_the_jitter_of_a_batch_is_the_one_that_was_drawn():
    images = images_of(9, *SHAPE)
    augment = augmentation(color_jitter={"brightness_shift": 0.2, "contrast": 0.4})
    shifts, factors = (
        draw.double().numpy() for draw in sample_brightness_contrast(augment, 9, 3, 4)
    )
    expected = slow_jitter(images, shifts, factors)
    np.testing.assert_allclose(augment_images(augment, images, 3, 4), expected, atol=2e-4)


def test_every_corner_is_drawn_about_equally_often_and_lies_inside():
    # squares of 7 in images of 10 x 8: corners 0..3 and 0..1
    got = augment_images(augmentation(cutout=7), np.zeros((8000, *SHAPE), np.uint8))[..., 0] == 127
    assert (got.flatten(1).sum(1) == 49).all()
    tops, lefts = got.any(2).int().argmax(1), got.any(1).int().argmax(1)
    positions, counts = (tops * 10 + lefts).unique(return_counts=True)
    assert positions.tolist() == [0, 1, 10, 11, 20, 21, 30, 31]
    assert counts.min() > 850  # 1,000 expected of each, std 30
    assert counts.max() < 1150


@pytest.mark.parametrize("side", [3, 4])
def test_a_cutout_that_the_border_may_cut_has_its_centre_anywhere_inside(side):
    images = np.zeros((16_000, *SHAPE), np.uint8)
    augment = augmentation(cutout=side, cutout_inside=False)
    centres = sample_cutout_corners(augment, images.shape[:3], 0, 0) + side // 2
    positions, counts = (centres[:, 0] * 8 + centres[:, 1]).unique(return_counts=True)
    assert positions.tolist() == list(range(80))
    assert (counts - 200).abs().max() < 70  # std 14
    got = augment_images(augment, images)[..., 0] == 127
    areas = got.flatten(1).sum(1)
    assert areas.max() == side**2
    assert areas.min() == ((side + 1) // 2) ** 2
    assert torch.equal(
        got,
        torch.from_numpy(slow_cutout(images, (centres - side // 2).tolist(), side))[..., 0] == 127,
    )


@pytest.mark.parametrize(
    "part", [{"color_jitter": {"brightness_shift": 0.5}}, {"cutout": 4}], ids=str
)
def test_draws_are_new_in_each_epoch_step_and_seed_and_else_the_same(part):
    images = images_of(50, *SHAPE)
    times = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    made = [
        augment_images(augmentation(seed, **part), images, epoch, step)
        for seed, epoch, step in times
    ]
    for first, second in combinations(made, 2):
        assert (first != second).flatten(1).any(1).double().mean() > 0.8
    assert torch.equal(made[0], augment_images(augmentation(0, **part), images))


def test_each_image_has_its_own_draw():
    same = np.repeat(images_of(1, *SHAPE), 50, axis=0)
    for part in ({"color_jitter": {"contrast": 0.5}}, {"cutout": 2}):
        assert len(augment_images(augmentation(**part), same).unique(dim=0)) > 20


def test_in_this_order_whatever_the_order_of_the_keys():
    images = images_of(20, *SHAPE)
    parts = [
        {"crop": {"padding": 2, "padding_mode": "reflect"}},
        {"degrees": 20, "scale": 0.2, "translate": 0.2},
        {"hflip": "random"},
        {"vflip": True},
        {"policy": {"kind": "randaugment"}},
        {"color_jitter": {"brightness_shift": 0.3, "contrast": 0.5}},
        {"color_jitter": {"saturation": 0.5, "hue": 0.1}},
        {"gaussian_noise": {"sigma": 0.1}},
        {"cutout": 3},
    ]
    settings_of_all = {}
    for part in reversed(parts):
        for name, value in part.items():
            present = settings_of_all.get(name, {})
            settings_of_all[name] = value | present if isinstance(value, dict) else value
    got = augment_images(augmentation(**settings_of_all), images, 5, 6)
    step_by_step = torch.from_numpy(images)
    for part in parts:
        before, step_by_step = (
            step_by_step,
            augment_images(augmentation(**part), step_by_step, 5, 6),
        )
        assert not torch.equal(before.float(), step_by_step.float())
    assert torch.equal(got, step_by_step)
    # noise behind it would change the grey
    assert ((got == 127).all(3).flatten(1).sum(1) >= 9).all()


KIND_SETTINGS = {
    "crop": ({"crop": {"padding": 2}}, {"padding": 2}),
    "affine": ({"degrees": 20, "translate": 0.2}, {"degrees": 20, "translate": 0.2}),
    "hflip": ({"hflip": "random"}, {}),
    "vflip": ({"vflip": True}, {}),
    "policy": ({"policy": {"kind": "randaugment"}}, {"policy": {"kind": "randaugment"}}),
    "color_jitter": ({"color_jitter": {"hue": 0.1}}, {"hue": 0.1}),
    "gaussian_noise": ({"gaussian_noise": {"sigma": 0.1}}, {"sigma": 0.1}),
    "cutout": ({"cutout": 3}, {"size": 3}),
}


@pytest.mark.parametrize("kinds", [list(KIND_SETTINGS), list(KIND_SETTINGS)[::-1]], ids=str)
def test_extra_takes_the_shipped_kinds_in_any_order(kinds):
    shipped = {name for name, kind in AugmentationConfig.kinds().items() if kind.is_shipped()}
    assert set(kinds) == shipped
    images = images_of(20, *SHAPE)
    extra = [{"kind": kind, **KIND_SETTINGS[kind][1]} for kind in kinds]
    step_by_step = torch.from_numpy(images)
    for kind in kinds:
        step_by_step = augment_images(augmentation(**KIND_SETTINGS[kind][0]), step_by_step, 5, 6)
    assert torch.equal(augment_images(augmentation(extra=extra), images, 5, 6), step_by_step)
    other_order = augment_images(augmentation(extra=extra[::-1]), images, 5, 6)
    assert not torch.equal(other_order.float(), step_by_step.float())


@pytest.mark.parametrize(("side", "shape"), [(8, SHAPE), (32, (32, 32, 3)), (9, (8, 8, 1))])
def test_a_cutout_that_leaves_nothing_is_refused(side, shape):
    with pytest.raises(RecipeError) as caught:
        augmentation(cutout=side, shape=shape)
    most = min(shape[:2]) - 1
    what = (
        f"augment.cutout: a square of {side} pixels leaves nothing of images of {most + 1} pixels"
    )
    assert str(caught.value) == f"{what}\ntake at most {most}"
    augmentation(cutout=most, shape=shape)
