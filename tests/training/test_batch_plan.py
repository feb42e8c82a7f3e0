"""A run's length: durations resolved to steps once, divided into epochs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cifarlab.recipes.text import build
from cifarlab.system.processes import Processes
from cifarlab.training.plan import BatchPlan, Epoch, plan_batches


def build_plan(duration: str, *extensions: str, steps_per_epoch: int = 10) -> BatchPlan:
    longer = [{"duration": text, "schedule": "hold"} for text in extensions]
    training = {"duration": duration, "extensions": longer, "batch_size": 2}
    return plan_batches(build({"training": training}), 2 * steps_per_epoch)


def test_whole_epochs() -> None:
    assert build_plan("3 epochs").epochs == (Epoch(0, 10), Epoch(10, 10), Epoch(20, 10))


@pytest.mark.parametrize(
    ("duration", "lengths"),
    [
        ("25 steps", [10, 10, 5]),
        ("7 steps", [7]),
        ("2.5 epochs", [10, 10, 5]),
        ("1 step", [1]),
        ("0.01 epochs", [1]),  # never no step at all
    ],
)
def test_the_last_epoch_may_be_short(duration: str, lengths: list[int]) -> None:
    plan = build_plan(duration)
    assert [epoch.steps for epoch in plan.epochs] == lengths
    assert plan.steps == sum(lengths)


def test_an_extension_starts_a_new_epoch() -> None:
    plan = build_plan("15 steps", "1 epoch", "3 steps")
    assert plan.epochs == (Epoch(0, 10), Epoch(10, 5), Epoch(15, 10), Epoch(25, 3))
    assert [segment.steps for segment in plan.segments] == [15, 10, 3]
    assert [segment.mode for segment in plan.segments] == ["planned", "hold", "hold"]


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.integers(1, 20),
)
def test_epochs_cover_each_step_once(lengths: list[int], steps_per_epoch: int) -> None:
    texts = [f"{length} steps" for length in lengths]
    plan = build_plan(*texts, steps_per_epoch=steps_per_epoch)
    covered = [step for first, steps in plan.epochs for step in range(first, first + steps)]
    assert covered == list(range(sum(lengths))) == list(range(plan.steps))
    assert all(0 < steps <= steps_per_epoch for _, steps in plan.epochs)


def test_an_extended_plan_begins_with_the_planned_one() -> None:
    assert build_plan("15 steps", "1 epoch").epochs[:2] == build_plan("15 steps").epochs


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_each_image_of_a_pass_is_of_one_process(world_size: int) -> None:
    training = {"batch_size": 30, "micro_batch_size": 8, "duration": "2 epochs"}
    recipe = build({"training": training})
    plans = [plan_batches(recipe, 100, Processes(rank, world_size)) for rank in range(world_size)]
    assert plans[0].batch_sizes == [25] * 4 and plans[0].micro_batch_sizes(25) == [7, 6, 6, 6]
    shards = [plan.shards(25) for plan in plans]
    for number, size in enumerate([7, 6, 6, 6]):
        pass_shards = [shard[number] for shard in shards]
        covered = [image for shard in pass_shards for image in range(25)[shard.indices]]
        first = [0, 7, 13, 19][number]
        assert covered == list(range(first, first + size))
        assert [shard.start + first for shard in pass_shards] == [
            s.indices.start for s in pass_shards
        ]
    read = [plan.local_indices(25) for plan in plans]
    if world_size > 1:
        assert sorted(torch.cat(read).tolist()) == list(range(25))
    else:
        assert read == [None]


def test_a_step_s_size_and_images_follow_the_recipe() -> None:
    recipe = build(
        {
            "augment": {"progressive_resize": [{"start": "3 steps", "pixels": 16}]},
            "training": {
                "batch_size": 10,
                "duration": "7 steps",
                "selective_backprop": {"keep": 0.5, "start": "1 epoch"},
            },
        }
    )
    plan = plan_batches(recipe, 39)
    assert [plan.n_images(step) for step in range(7)] == [10, 10, 10, 9, 10, 10, 10]
    counts = [plan.n_trained(step, plan.n_images(step)) for step in range(7)]
    assert counts == [10, 10, 10, 9, 5, 5, 5]
    assert [plan.image_size(step) for step in range(7)] == [None] * 3 + [16] * 4
