"""Further views for the images that the first view leaves unsure: which ones, what they get."""

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from made_predictor import images, made, slow_views
from torch import Tensor

from cifarlab.evaluate import Predictor, evaluate_run
from cifarlab.evaluate.views import averaged, least_sure, seen_as
from cifarlab.recipe import Recipe
from cifarlab.run import RunFolder
from cifarlab.train import train


def slow_least_sure(logits: np.ndarray, count: int) -> list[int]:
    """The places of the ``count`` lowest largest probabilities, one image after another."""
    sure = []
    for place, row in enumerate(logits.astype(np.float64)):
        shares = [math.exp(x - max(row)) for x in row]
        sure.append((max(shares) / sum(shares), place))
    return sorted(place for _, place in sorted(sure)[:count])


def counting(predictor: Predictor) -> list[int]:
    """How many images each pass through the network from now on takes."""
    counts: list[int] = []
    predictor.classifier.register_forward_hook(lambda _, given, __: counts.append(len(given[0])))
    return counts


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.999])
@pytest.mark.parametrize("seed", range(3))
def test_the_least_sure_are_those_with_the_lowest_largest_probability(
    share: float, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (137, 5)).astype(np.float32)
    places = least_sure(torch.from_numpy(logits), share)
    assert places.tolist() == slow_least_sure(logits, math.ceil(share * 137))


@given(percent=st.integers(1, 100), n=st.integers(0, 500))
@example(percent=7, n=100)
def test_the_count_is_rounded_up_from_what_was_written(percent: int, n: int) -> None:
    # 0.07 * 100 is 7.000000000000001 in floating point
    count = len(least_sure(torch.zeros(n, 2), percent / 100))
    assert count == math.ceil(Fraction(percent, 100) * n)


def test_of_equally_sure_images_the_earlier_are_taken() -> None:
    logits = torch.zeros(1000, 3)
    logits[::3, 1] = 4.0
    unsure = [place for place in range(1000) if place % 3]
    assert least_sure(logits, 0.4).tolist() == unsure[:400]
    assert least_sure(torch.zeros(1000, 3), 0.4).tolist() == list(range(400))


def test_probability_decides_not_the_logit() -> None:
    logits = torch.tensor([[9.0, 8.9], [1.0, -1.0], [-5.0, 5.0]])
    assert least_sure(logits, 0.3).tolist() == [0]


def test_nearly_certain_images_are_still_told_apart() -> None:
    """In float32 both probabilities would be 1, and the first image would be taken."""
    assert least_sure(torch.tensor([[30.0, 0.0], [20.0, 0.0]]), 0.5).tolist() == [1]


@pytest.mark.parametrize("views", [2, 6, 10])
@pytest.mark.parametrize("unsure", [0.01, 0.3, 0.9])
def test_only_the_unsure_get_all_views_one_image_at_a_time(views: int, unsure: float) -> None:
    predictor, batch = made(), images(41)
    single = torch.stack([predictor.logits(image[None])[0] for image in batch])
    chosen = slow_least_sure(single.numpy(), math.ceil(unsure * 41))
    slow = single.clone()
    for place in chosen:
        seen = slow_views(batch[place], views)
        slow[place] = torch.stack([predictor.logits(view[None])[0] for view in seen]).mean(0)
    found = predictor.logits(batch, views, unsure=unsure)
    torch.testing.assert_close(found, slow)
    changed = (found != predictor.logits(batch)).any(1).nonzero().flatten().tolist()
    assert changed == chosen


def test_the_share_is_of_all_images_not_of_each_batch() -> None:
    """Sure and unsure images in batches of their own: the share falls on one side alone."""
    predictor = made()
    pool = images(600)
    order = predictor.logits(pool).softmax(1).amax(1).argsort().numpy()
    batch = pool[order]  # the unsure ones first, far more than a batch
    counts = counting(predictor)
    found = predictor.logits(batch, 2, unsure=0.5)
    assert counts == [125, 125, 125, 125, 100, 125, 125, 50]
    single = predictor.logits(batch)
    assert torch.equal(found[300:], single[300:])
    assert not torch.isclose(found[:300], single[:300], rtol=0, atol=1e-7).all(1).any()


@pytest.mark.parametrize(
    ("views", "passes"), [(2, 100 + 25), (6, 100 + 5 * 25), (10, 100 + 9 * 25)]
)
def test_the_first_view_is_not_computed_again(views: int, passes: int) -> None:
    predictor = made()
    counts = counting(predictor)
    predictor.logits(images(100), views, unsure=0.25)
    assert sum(counts) == passes


@pytest.mark.parametrize("views", [2, 6])
def test_all_images_unsure_is_the_same_as_no_choice(views: int) -> None:
    predictor, batch = made(), images(90)
    assert torch.equal(predictor.logits(batch, views, unsure=1.0), predictor.logits(batch, views))
    # 0.999 of 90 is 89.91, rounded up to all: the other way through the same arithmetic
    assert torch.equal(predictor.logits(batch, views, unsure=0.999), predictor.logits(batch, views))


@pytest.mark.parametrize("n", [0, 1])
def test_few_images(n: int) -> None:
    predictor = made()
    found = predictor.logits(images(n), 6, unsure=0.5)
    assert found.shape == (n, 3)
    torch.testing.assert_close(found, predictor.logits(images(n), 6))


def test_indices_are_the_set_that_the_share_is_of() -> None:
    predictor, batch = made(), images(60)
    places = np.array([50, 3, 7, 20, 21, 33, 58, 0])
    found = predictor.logits(batch, 6, places, 0.25)
    torch.testing.assert_close(found, predictor.logits(batch[places], 6, unsure=0.25))


def test_six_views_are_distinct_and_the_image_comes_first() -> None:
    batch = torch.from_numpy(images(2))
    seen = list(seen_as(batch, 6))
    assert seen[0] is batch
    for one, view in zip(batch.numpy(), zip(*(v.numpy() for v in seen), strict=True), strict=True):
        for slow, fast in zip(slow_views(one, 6), view, strict=True):
            np.testing.assert_array_equal(fast, slow)


def test_known_logits_of_the_first_view_are_taken_as_they_are() -> None:
    def network(view: Tensor) -> Tensor:
        return view.flatten(1)[:, :3].float()

    batch = torch.from_numpy(images(3))
    first = torch.full((3, 3), 1000.0)
    expected = (first + network(batch.flip(2))) / 2
    assert torch.equal(averaged(network, batch, 2, first), expected)
    assert torch.equal(first, torch.full((3, 3), 1000.0))


def test_the_recipe_s_share_reaches_the_result_and_the_second_measurement(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    def trained(name: str, **evaluation: object) -> tuple[RunFolder, dict[str, object]]:
        changes = {f"evaluation.{key}": value for key, value in evaluation.items()}
        folder = RunFolder(tmp_path / name)
        return folder, train(tiny({"training.duration": "1 epoch", **changes}), folder)

    folder, some = trained("some", views=6, unsure=0.2)
    _, every = trained("every", views=6)
    _, none = trained("none", views=1)
    assert some["evaluated"] == {"checkpoint": "last", "epoch": 1, "views": 6, "unsure": 0.2}
    assert every["evaluated"] == {"checkpoint": "last", "epoch": 1, "views": 6, "unsure": 1.0}
    losses = {json.dumps(result["val"]["loss"]) for result in (some, every, none)}  # type: ignore[index]
    assert len(losses) == 3
    for split in ("val", "test"):
        assert evaluate_run(folder, split)[0] == some[split]
    # one view for all: the recipe's share of them changes nothing
    assert evaluate_run(folder, "val", 1)[0] == none["val"]
    assert evaluate_run(folder, "val", 2)[0]["loss"] not in {
        some["val"]["loss"],
        none["val"]["loss"],
    }  # type: ignore[index]
