"""How images are cut into batches: as equal as can be, none of a single image, none too large."""

import math

import pytest

from cifarlab.data.batch_sizes import batch_sizes


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"),
    [
        (1294, 128, [118] * 7 + [117] * 4),
        (12, 4, [4, 4, 4]),
        (13, 4, [4, 3, 3, 3]),
        (17, 16, [9, 8]),
        (5, 2, [3, 2]),
        (3, 2, [3]),
        (3, 1, [1, 1, 1]),
        (1, 2, [1]),
        (7, 99, [7]),
        (7, None, [7]),
    ],
)
def test_by_hand(images: int, batch_size: int | None, sizes: list[int]) -> None:
    assert batch_sizes(images, batch_size) == sizes


def test_the_reports_steps_per_epoch() -> None:
    """50,000 images at 64 make 782 steps, of which none is small."""
    sizes = batch_sizes(50_000, 64)
    assert (len(sizes), sizes[0], sizes[-1]) == (782, 64, 63)


@pytest.mark.parametrize("batch_size", range(2, 40))
def test_all_images_in_equal_batches_of_two_at_least(batch_size: int) -> None:
    for images in range(2, 200):
        sizes = batch_sizes(images, batch_size)
        assert sum(sizes) == images
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] - sizes[-1] <= 1
        assert sizes[-1] >= 2
        if batch_size > 2:  # of an odd number in twos the first has three
            assert len(sizes) == math.ceil(images / batch_size)
            assert sizes[0] <= batch_size
