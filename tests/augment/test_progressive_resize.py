"""Progressive image size: when each size starts, in exact steps; what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifarlab.augment.pipeline import Augmentation, pixels_at, sizes_by_step
from cifarlab.recipes.text import build
from cifarlab.system.errors import RecipeError


def sizes_of(*pairs):
    listed = [{"start": start, "pixels": pixels} for start, pixels in pairs]
    return build({"augment": {"progressive_resize": listed}}).augment.progressive_resize


@pytest.mark.parametrize(
    ("pairs", "stages"),
    [
        ([], ()),
        ([("0 steps", 16)], ((0, 16),)),
        ([("7 steps", 16)], ((7, 16),)),
        ([("0 epochs", 20), ("3 epochs", 32)], ((0, 20), (300, 32))),
        ([("0 of the run", 16), ("0.3 of the run", 24)], ((0, 16), (300, 24))),
        # 0.1235 of 1,000 steps are 123.5 and 1.235 epochs too: half up
        ([("0.1235 of the run", 16), ("1.245 epochs", 24)], ((124, 16), (125, 24))),
        (
            [("1 epoch", 16), ("101 steps", 24), ("0.5 of the run", 20)],
            ((100, 16), (101, 24), (500, 20)),
        ),
        ([("0 steps", 16), ("1 of the run", 32)], ((0, 16), (1000, 32))),
    ],
)
def test_starts_in_steps(pairs, stages):
    assert sizes_by_step(sizes_of(*pairs), steps_per_epoch=100, total_steps=1000) == stages


@pytest.mark.parametrize(
    ("pairs", "what"),
    [
        (
            [("3 epochs", 16), ("0.2 of the run", 32)],
            "augment.progressive_resize: '0.2 of the run' is step 200, "
            "not after '3 epochs', which is step 300",
        ),
        (
            [("0 steps", 16), ("2 epochs", 20), ("0.2 of the run", 32)],
            "augment.progressive_resize: '0.2 of the run' is step 200, "
            "not after '2 epochs', which is step 200",
        ),
        (
            [("0 steps", 16), ("0.0004 of the run", 20)],
            "augment.progressive_resize: '0.0004 of the run' is step 0, "
            "not after '0 steps', which is step 0",
        ),
    ],
    ids=["before", "at once", "rounded to one step"],
)
def test_a_size_that_does_not_start_after_the_one_before_it(pairs, what):
    with pytest.raises(RecipeError) as caught:
        sizes_by_step(sizes_of(*pairs), 100, 1000)
    assert str(caught.value).split("\n")[0] == what


def test_only_the_length_decides_whether_starts_ascend():
    sizes = sizes_of(("3 epochs", 16), ("0.5 of the run", 32))
    assert sizes_by_step(sizes, 100, 1000) == ((300, 16), (500, 32))
    with pytest.raises(RecipeError):
        sizes_by_step(sizes, 100, 600)


@pytest.mark.parametrize(
    ("step", "pixels"),
    [(0, None), (9, None), (10, 16), (11, 16), (39, 16), (40, 24), (41, 24), (10**9, 24)],
)
def test_the_size_at_a_step(step, pixels):
    assert pixels_at(((10, 16), (40, 24)), step) == pixels


def test_no_sizes_leave_all_as_it_is():
    assert pixels_at((), 0) is None


@given(
    firsts=st.lists(st.integers(0, 60), unique=True, max_size=5).map(sorted),
    step=st.integers(0, 70),
)
def test_the_size_at_a_step_is_the_last_that_has_started(firsts, step):
    stages = tuple((first, 100 + index) for index, first in enumerate(firsts))
    now = None
    for first, pixels in stages:
        if first <= step:
            now = pixels
    assert pixels_at(stages, step) == now


@pytest.mark.parametrize(("shape", "most"), [((32, 32, 3), 32), ((12, 40, 3), 12), ((40, 9, 1), 9)])
def test_a_size_above_the_images_is_refused(shape, most):
    sizes = [{"start": "0 steps", "pixels": 4}, {"start": "1 epoch", "pixels": most + 1}]
    with pytest.raises(RecipeError) as caught:
        Augmentation(build({"augment": {"progressive_resize": sizes}}).augment, shape, 0)
    what = (
        f"augment.progressive_resize.1.pixels={most + 1} is larger than the images, "
        f"which have {most} pixels"
    )
    assert str(caught.value) == f"{what}\ntake at most {most}; images are never enlarged"
    sizes[1]["pixels"] = most
    Augmentation(build({"augment": {"progressive_resize": sizes}}).augment, shape, 0)
