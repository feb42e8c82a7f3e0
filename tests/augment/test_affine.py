"""Rotation, zoom, shift and flips against slow versions, Pillow and SciPy; and their draws."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from cifarlab.augment.draws import BatchDraws
from cifarlab.augment.pipeline import Augmentation
from cifarlab.augment.transforms import affine_matrices, flip, translate, warp_affine
from cifarlab.recipes.text import build

SHAPE = (10, 8, 3)
every_fill = pytest.mark.parametrize("fill", ["nearest", "constant", "reflect"])


def images_of(count, height, width, channels, seed=0):
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def augmentation(seed=0, shape=SHAPE, **parts):
    return Augmentation(build({"augment": parts}).augment, shape, seed)


def sample_affine(augment, shape, epoch, step):
    count, *sides = shape
    draws = BatchDraws(augment.seed, epoch, step, torch.arange(count))
    return augment.pipeline["degrees"].sample(sides, draws)


def augment_images(augment, images, epoch=0, step=0):
    return augment(torch.as_tensor(images), torch.arange(len(images)), epoch, step)


def reflect_position(position, size):
    """A place mirrored at the centres of the edge's pixels until it lies between them."""
    while size > 1 and not 0 <= position <= size - 1:
        position = -position if position < 0 else 2 * (size - 1) - position
    return position


def slow_value(image, row, column, fill):
    """The value at any place of an image (H, W, C), both counted from its first pixel's centre."""
    height, width, channels = image.shape
    if fill == "constant" and not (-0.5 <= row < height - 0.5 and -0.5 <= column < width - 0.5):
        return np.zeros(channels)
    if fill == "reflect":
        row, column = reflect_position(row, height), reflect_position(column, width)
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    top, left = int(row), int(column)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = row - top, column - left
    return (1 - down) * ((1 - across) * image[top, left] + across * image[top, right]) + down * (
        (1 - across) * image[below, left] + across * image[below, right]
    )


def slow_resampled(images, maps, fill):
    out = np.empty(images.shape)
    middle = (np.array(images.shape[1:3]) - 1) / 2
    for n, i, j in np.ndindex(*images.shape[:3]):
        row, column = maps[n] @ [i - middle[0], j - middle[1], 1] + middle
        out[n, i, j] = slow_value(images[n].astype(float), row, column, fill)
    return out


def move_pixel(angle, zoom, shift, row, column):
    """Where a pixel at (row, column) from the centre goes: magnified, turned, moved."""
    y, x = -row * zoom, column * zoom
    turn = math.radians(angle)
    x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    return -y + shift[0], x + shift[1]


@every_fill
@pytest.mark.parametrize(("height", "width", "channels"), [(7, 6, 3), (5, 8, 1), (1, 4, 1)])
def test_resampled_is_the_slow_one_pixel_by_pixel(fill, height, width, channels):
    images = images_of(8, height, width, channels)
    maps = np.random.default_rng(1).normal(0, 1, (8, 2, 3)).astype(np.float32)
    maps[:, :, 2] *= 3
    got = warp_affine(torch.from_numpy(images), torch.from_numpy(maps), fill)
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    expected = slow_resampled(images, maps.astype(np.float64), fill)
    np.testing.assert_allclose(got, expected, atol=5e-3)


@pytest.mark.parametrize(("fill", "mode"), [("nearest", "nearest"), ("reflect", "mirror")])
def test_resampled_is_scipy_s_affine_transform(fill, mode):
    images = images_of(1, 9, 12, 1)
    maps = affine_matrices(torch.tensor([23.0]), torch.tensor([0.7]), torch.tensor([[2.0, -1.0]]))
    got = warp_affine(torch.from_numpy(images), maps, fill)[0, :, :, 0]
    matrix, constant = maps[0, :, :2].double().numpy(), maps[0, :, 2].double().numpy()
    middle = np.array([4.0, 5.5])
    offset = middle + constant - matrix @ middle
    plane = images[0, :, :, 0].astype(float)
    expected = ndimage.affine_transform(plane, matrix, offset, order=1, mode=mode)
    np.testing.assert_allclose(got, expected, atol=5e-3)


@pytest.mark.parametrize("angle", [-170, -15, 3, 90, 45])
def test_a_turn_is_pillow_s_with_black_corners(angle):
    """Pillow rounds to whole grey levels."""
    images = images_of(1, 12, 12, 3)
    maps = affine_matrices(torch.tensor([float(angle)]), torch.ones(1), torch.zeros(1, 2))
    got = warp_affine(torch.from_numpy(images), maps, "constant")[0]
    pillow = Image.fromarray(images[0]).rotate(angle, Image.Resampling.BILINEAR)
    differences = np.abs(got.numpy() - np.asarray(pillow)).max(2)
    if angle == 90:  # the places lie on the image's border, to the last bit
        differences = differences[1:-1, 1:-1]
    assert differences.max() <= 1


def test_maps_lead_back_from_where_a_pixel_goes():
    draws = np.random.default_rng(2)
    angles, zooms = draws.uniform(-180, 180, 6), draws.uniform(0.2, 1.9, 6)
    shifts, position = draws.uniform(-5, 5, (6, 2)), (1.5, -2.5)
    maps = affine_matrices(*(torch.from_numpy(draw) for draw in (angles, zooms, shifts))).numpy()
    for angle, zoom, shift, affine_map in zip(angles, zooms, shifts, maps, strict=True):
        new_position = move_pixel(angle, zoom, shift, *position)
        np.testing.assert_allclose(affine_map @ [*new_position, 1], position, atol=1e-9)


@every_fill
def test_no_turn_is_the_image(fill):
    images = torch.from_numpy(images_of(3, 9, 8, 3))
    maps = affine_matrices(torch.zeros(3), torch.ones(3), torch.zeros(3, 2))
    torch.testing.assert_close(warp_affine(images, maps, fill), images.float(), rtol=0, atol=1e-3)


@every_fill
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_shift_is_exact_and_equals_the_slow_one(fill, dtype):
    images = images_of(5, 6, 5, 3)
    offsets = [(0, 0), (2, -1), (-3, 4), (5, 0), (0, -4)]
    got = translate(torch.from_numpy(images).to(dtype), torch.tensor(offsets), fill)
    assert got.dtype == dtype
    for image, (down, right), moved in zip(images, offsets, got.numpy(), strict=True):
        for i, j in np.ndindex(6, 5):
            np.testing.assert_array_equal(
                moved[i, j], slow_value(image, i - down, j - right, fill).astype(np.uint8)
            )


@every_fill
def test_a_shift_is_the_resampling_of_the_same_shift(fill):
    images = torch.from_numpy(images_of(4, 9, 7, 1))
    offsets = torch.tensor([(0, 3), (-2, 1), (4, 4), (-5, -3)])
    maps = affine_matrices(torch.zeros(4), torch.ones(4), offsets)
    expected = translate(images, offsets, fill).float()
    torch.testing.assert_close(warp_affine(images, maps, fill), expected, rtol=0, atol=1e-3)


def test_upside_down_is_the_rows_backwards():
    images = images_of(3, 4, 5, 3)
    got = flip(torch.from_numpy(images), torch.tensor([True, False, True]), axis=1)
    np.testing.assert_array_equal(got, np.stack([images[0, ::-1], images[1], images[2, ::-1]]))


def test_a_vertical_flip_picks_half_apart_from_the_other_flip():
    images = np.zeros((20_000, 2, 2, 1), np.uint8)
    images[:, 0, 0] = 1
    got = augment_images(augmentation(hflip="random", vflip=True, shape=(2, 2, 1)), images)
    fractions = got.flatten(1).double().mean(0)  # where the pixel went
    np.testing.assert_allclose(fractions, 0.25, atol=0.015)  # std 0.003


@pytest.mark.parametrize(
    ("part", "angle", "zoom", "shift"),
    [
        ({"degrees": 15}, 15, 0, 0),
        ({"scale": 0.3}, 0, 0.3, 0),
        ({"translate": 0.2}, 0, 0, 0.2),
        ({"degrees": 180, "scale": 0.9, "translate": 0.5}, 180, 0.9, 0.5),
    ],
    ids=str,
)
def test_moves_are_uniform_in_their_range(part, angle, zoom, shift):
    angles, zooms, shifts = sample_affine(augmentation(**part), (20_000, 30, 12), 0, 0)
    for drawn, middle, reach in ((angles, 0, angle), (zooms, 1, zoom)):
        if not reach:
            assert (drawn == middle).all()
            continue
        quarters = torch.histc(drawn, 4, middle - reach, middle + reach)
        assert quarters.sum() == 20_000
        assert (quarters - 5000).abs().max() < 300  # std 61
    for drawn, side in zip(shifts.T, (30, 12), strict=True):
        assert drawn.dtype == torch.int64
        most = round(shift * side)
        assert (drawn.min(), drawn.max()) == (-most, most)


def test_shifts_are_whole_pixels_as_often_as_the_nearest_real_ones():
    _, _, shifts = sample_affine(augmentation(translate=0.1), (32_000, 32, 32), 0, 0)
    positions, counts = shifts[:, 0].unique(return_counts=True)
    assert positions.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    # of ±3.2 pixels, ±3 stand for 0.7 each, the others for 1: 3,500 and 5,000
    np.testing.assert_allclose(counts, [3500, *[5000] * 5, 3500], atol=400)


def test_rows_and_columns_are_moved_apart():
    _, _, shifts = sample_affine(augmentation(translate=0.5), (9999, 32, 32), 0, 0)
    assert abs(np.corrcoef(shifts.T.double().numpy())[0, 1]) < 0.05


@pytest.mark.parametrize(
    "part",
    [{"degrees": 90}, {"scale": 0.5}, {"translate": 0.4}, {"vflip": True}],
    ids=str,
)
def test_draws_are_new_in_each_epoch_step_and_seed_and_else_the_same(part):
    images = images_of(60, *SHAPE)
    times = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    made = [
        augment_images(augmentation(seed, **part), images, epoch, step)
        for seed, epoch, step in times
    ]
    for first, second in combinations(made, 2):
        assert (first != second).flatten(1).any(1).double().mean() > 0.3
    assert torch.equal(made[0], augment_images(augmentation(0, **part), images))


@every_fill
def test_what_is_done_is_what_was_drawn(fill):
    images = images_of(9, *SHAPE)
    augment = augmentation(degrees=40, scale=0.5, translate=0.3, fill_mode=fill)
    maps = affine_matrices(*sample_affine(augment, (9, *SHAPE[:2]), 3, 4))
    expected = slow_resampled(images, maps.double().numpy(), fill)
    np.testing.assert_allclose(augment_images(augment, images, 3, 4), expected, atol=5e-3)


def test_a_shift_draws_the_same_with_a_turn_beside_it_and_stays_exact_without():
    images = images_of(9, *SHAPE)
    alone = augmentation(translate=0.3)
    assert torch.equal(
        sample_affine(alone, (9, 10, 8), 0, 0)[2],
        sample_affine(augmentation(translate=0.3, scale=0.2), (9, 10, 8), 0, 0)[2],
    )
    got = augment_images(alone, images)
    assert got.dtype == torch.uint8
    assert torch.equal(
        got,
        translate(torch.as_tensor(images), sample_affine(alone, (9, 10, 8), 0, 0)[2], "nearest"),
    )
