"""Each operation of the policies against Pillow's, image by image."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from cifarlab.augment.operations import OPERATIONS

OPERATION_BY_NAME = {operation.name: operation.apply for operation in OPERATIONS}
FACTORS = np.linspace(-0.99, 0.99, 12)
every_shape = pytest.mark.parametrize("shape", [(12, 32, 32, 3), (12, 9, 14, 1), (12, 20, 7, 3)])


def images_of(shape):
    """Noise, dark noise, few values, one value, gradients, one bright pixel."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, shape, dtype=np.uint8)
    images[1] //= 7
    images[2] = images[2] // 128 * 90 + 30
    images[3] = 77
    images[4] = (np.arange(shape[1])[:, None, None] * 5 + np.arange(shape[3]) * 9) % 256
    images[5] = 10
    images[5, 2, 3] = 240
    images[6, ..., -1] = 200  # a single value in one channel
    return images


def as_pillow(image):
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def by_pillow(images, strengths, change):
    changed = [np.asarray(change(as_pillow(i), s)) for i, s in zip(images, strengths, strict=True)]
    return np.stack(changed).reshape(images.shape)


def apply_operation(name, images, strengths, fill="nearest"):
    arguments = torch.from_numpy(images), torch.tensor(np.array(strengths), dtype=torch.float32)
    got = OPERATION_BY_NAME[name](*arguments, fill)
    assert got.dtype == torch.uint8
    assert got.shape == images.shape
    return got.numpy()


def difference(images, others):
    return np.abs(images.astype(int) - others.astype(int)).max()


@every_shape
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("color", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_enhancers_are_pillow_s_but_for_the_last_bit_of_a_product(name, enhancer, shape):
    images = images_of(shape)
    got = apply_operation(name, images, FACTORS)
    expected = by_pillow(images, FACTORS, lambda image, by: enhancer(image).enhance(1 + by))
    assert difference(got, expected) <= 1
    assert (got == expected).mean() > 0.999
    if (name, shape[3]) != ("color", 1):
        assert difference(got, images) > 20


@every_shape
def test_posterize_is_pillow_s(shape):
    images, bits = images_of(shape), np.linspace(0, 6, 12)
    expected = by_pillow(images, bits, lambda image, by: ImageOps.posterize(image, 8 - round(by)))
    np.testing.assert_array_equal(apply_operation("posterize", images, bits), expected)


@every_shape
def test_solarize_is_pillow_s(shape):
    images, strengths = images_of(shape), np.linspace(0, 256, 12)
    expected = by_pillow(images, strengths, lambda image, by: ImageOps.solarize(image, 256 - by))
    np.testing.assert_array_equal(apply_operation("solarize", images, strengths), expected)


@every_shape
def test_equalize_is_pillow_s(shape):
    images = images_of(shape)
    expected = by_pillow(images, FACTORS, lambda image, _: ImageOps.equalize(image))
    got = apply_operation("equalize", images, FACTORS)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(got[3], images[3])
    if shape[1] * shape[2] > 512:  # with fewer pixels than grey levels all stays
        assert difference(got[1], images[1]) > 100


@every_shape
def test_autocontrast_is_pillow_s_but_where_its_floating_point_rounds_down_too_far(shape):
    images = images_of(shape)
    expected = by_pillow(images, FACTORS, lambda image, _: ImageOps.autocontrast(image))
    got = apply_operation("autocontrast", images, FACTORS)
    assert difference(got, expected) <= 1
    assert (got >= expected).all()
    assert got[1].min() == 0 and got[1].max() == 255
    np.testing.assert_array_equal(got[3], images[3])


def transform_by(coefficients):
    def change(image, by):
        a, b, c, d, e, f = coefficients(by, (image.width - 1) / 2, (image.height - 1) / 2)
        # Pillow counts from the corner of the first pixel, we from the centre of the image
        c, f = c + 0.5 * (1 - a - b), f + 0.5 * (1 - d - e)
        data = (a, b, c, d, e, f)
        return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)

    return change


@every_shape
@pytest.mark.parametrize(
    ("name", "coefficients"),
    [
        ("shear x", lambda by, x, y: (1, by, -by * y, 0, 1, 0)),
        ("shear y", lambda by, x, y: (1, 0, 0, by, 1, -by * x)),
    ],
)
def test_shears_are_pillow_s_about_the_centre(name, coefficients, shape):
    images = images_of(shape)
    expected = by_pillow(images, FACTORS, transform_by(coefficients))
    got = apply_operation(name, images, FACTORS, "constant")
    assert (np.abs(got.astype(int) - expected) <= 1).mean() > 0.995  # places just on the border
    assert difference(got, images) > 20


@every_shape
def test_rotation_is_pillow_s(shape):
    images, angles = images_of(shape), np.linspace(-134, 131, 12)
    change = lambda image, by: image.rotate(by, Image.Resampling.BILINEAR)  # noqa: E731
    expected = by_pillow(images, angles, change)
    got = apply_operation("rotate", images, angles, "constant")
    assert (np.abs(got.astype(int) - expected) <= 1).mean() > 0.995


@every_shape
@pytest.mark.parametrize(("name", "axis"), [("translate x", 1), ("translate y", 0)])
def test_translations_are_exact_and_by_whole_pixels(name, axis, shape):
    images, strengths = images_of(shape), np.linspace(-1, 1, 12)

    def change(image, by):
        pixels = round(by * image.size[1 - axis])
        data = (1, 0, -pixels * axis, 0, 1, -pixels * (1 - axis))
        return image.transform(image.size, Image.Transform.AFFINE, data)

    expected = by_pillow(images, strengths, change)
    np.testing.assert_array_equal(apply_operation(name, images, strengths, "constant"), expected)


@pytest.mark.parametrize("fill", ["nearest", "constant", "reflect"])
@pytest.mark.parametrize("name", ["rotate", "shear x", "shear y", "translate x", "translate y"])
def test_what_is_moved_in_is_the_recipe_s_fill(name, fill):
    images = np.full((1, 9, 9, 1), 200, np.uint8)
    got = apply_operation(name, images, [0.5 if name != "rotate" else 45], fill)
    assert got.max() == 200
    assert got.min() == (0 if fill == "constant" else 200)


@pytest.mark.parametrize(
    "name", [n for n in OPERATION_BY_NAME if n not in ("autocontrast", "equalize", "identity")]
)
def test_strength_zero_changes_nothing(name):
    images = images_of((12, 16, 16, 3))
    np.testing.assert_array_equal(apply_operation(name, images, np.zeros(12)), images)


@pytest.mark.parametrize("name", OPERATION_BY_NAME)
def test_the_caller_s_images_stay_as_they_are(name):
    images = images_of((12, 16, 16, 3))
    before = images.copy()
    apply_operation(name, images, np.full(12, 0.5))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", OPERATION_BY_NAME)
@pytest.mark.parametrize("shape", [(12, 4, 1, 1), (12, 1, 2, 3), (12, 2, 3, 1)])
def test_tiny_images_get_through(name, shape):
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    changed = apply_operation(name, images, FACTORS, "reflect")
    assert changed.shape == images.shape and np.isfinite(changed).all()
    assert changed.min() >= 0 and changed.max() <= 255
