"""RandAugment and TrivialAugment: what is drawn, and that each image gets just its own."""

from itertools import combinations

import numpy as np
import pytest
import torch

from cifarlab.augment.draws import BatchDraws
from cifarlab.augment.kinds import PolicyOperations
from cifarlab.augment.operations import OPERATIONS, apply_operations
from cifarlab.recipes.text import build

KINDS = pytest.mark.parametrize("kind", ["randaugment", "trivialaugment"])


def policy_of(kind, **settings):
    return build({"augment": {"policy": {"kind": kind, **settings}}}).augment.policy


def sample_operations(policy, count, seed, epoch, step):
    return policy.sample(
        count, BatchDraws(seed, epoch, step, torch.arange(count)).generator("policy")
    )


def apply_policy(policy, fill_mode, images, seed, epoch, step):
    draws = BatchDraws(seed, epoch, step, torch.arange(len(images)))
    return PolicyOperations(policy=policy, fill_mode=fill_mode).apply(images, draws)


def images_of(count, channels=3, side=12):
    shape = (count, side, side, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def apply_slowly(images, rounds, fill):
    """Image by image, each alone in its batch."""
    out = torch.from_numpy(images).clone()
    for op_indices, strengths in rounds:
        for n in range(len(out)):
            change = OPERATIONS[int(op_indices[n])].apply
            out[n : n + 1] = change(out[n : n + 1], strengths[n : n + 1], fill)
    return out


@KINDS
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 5, 90])
def test_each_image_gets_the_operations_drawn_for_it(kind, channels, count):
    images, policy = images_of(count, channels), policy_of(kind)
    rounds = sample_operations(policy, count, 3, 4, 5)
    got = apply_policy(policy, "reflect", torch.from_numpy(images), 3, 4, 5)
    assert got.dtype == torch.uint8
    assert torch.equal(got, apply_slowly(images, rounds, "reflect"))


def test_images_keep_their_order():
    images = torch.arange(0, 28, dtype=torch.uint8).reshape(28, 1, 1, 1).expand(28, 4, 4, 1)
    op_indices = torch.randperm(28, generator=torch.Generator().manual_seed(0)) % 14
    got = apply_operations(images, op_indices, torch.zeros(28), "constant")
    assert torch.equal(got, images)  # strength 0, and nothing to stretch


def test_without_a_policy_the_images_themselves():
    images = torch.zeros(2, 4, 4, 1)
    assert apply_policy(build({}).augment.policy, "constant", images, 0, 0, 0) is images


def test_float_images_are_rounded_to_bytes():
    images = torch.tensor([12.4, 12.6, 254.9, 255.0]).reshape(1, 2, 2, 1)
    op_indices, strengths = torch.zeros(1, dtype=torch.int64), torch.zeros(1)
    policy = policy_of("randaugment", magnitude=0, num_ops=1)
    seeds = [s for s in range(99) if sample_operations(policy, 1, s, 0, 0)[0][0] == 0]  # identity
    got = apply_policy(policy, "constant", images, seeds[0], 0, 0)
    assert got.flatten().tolist() == [12, 13, 255, 255]
    assert torch.equal(apply_operations(got, op_indices, strengths, "constant"), got)


@pytest.mark.parametrize(("operations", "magnitude"), [(1, 0), (2, 9), (3, 30)])
def test_randaugment_draws_operations_alike_at_one_magnitude(operations, magnitude):
    policy = policy_of("randaugment", num_ops=operations, magnitude=magnitude)
    rounds = sample_operations(policy, 14_000, 0, 0, 0)
    assert len(rounds) == operations
    for op_indices, strengths in rounds:
        counts = op_indices.bincount(minlength=14)
        assert (counts - 1000).abs().max() < 150  # std 30
        for index, operation in enumerate(OPERATIONS):
            mine = strengths[op_indices == index]
            wanted = operation.max_strength * magnitude / 30
            torch.testing.assert_close(mine.abs(), torch.full_like(mine, wanted))
            up = (mine > 0).double().mean().item()
            if wanted:
                assert up == pytest.approx(0.5 if operation.is_signed else 1, abs=0.08)
    for (op_indices, _), (other_indices, _) in combinations(rounds, 2):
        assert (op_indices == other_indices).double().mean().item() == pytest.approx(
            1 / 14, abs=0.02
        )


def test_trivialaugment_draws_one_operation_and_any_of_31_strengths():
    ((op_indices, strengths),) = sample_operations(policy_of("trivialaugment"), 60_000, 0, 0, 0)
    assert (op_indices.bincount(minlength=14) - 60_000 / 14).abs().max() < 400  # std 63
    for index, operation in enumerate(OPERATIONS):
        mine = strengths[op_indices == index]
        if not operation.wide_max_strength:
            assert (mine == 0).all()
            continue
        levels, counts = (
            (mine.abs() / operation.wide_max_strength * 30).round().unique(return_counts=True)
        )
        torch.testing.assert_close(levels, torch.arange(31.0))
        assert counts.min() > 80  # 138 expected of each, std 12
        assert (mine < 0).any() == operation.is_signed


def test_the_operations_are_the_fourteen_of_the_papers():
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names) == 14
    ranges = {
        operation.name: (operation.max_strength, operation.wide_max_strength)
        for operation in OPERATIONS
    }
    assert ranges["rotate"] == (30, 135)
    assert ranges["shear x"] == ranges["shear y"] == (0.3, 0.99)
    assert ranges["posterize"] == (4, 6)  # bits cleared: 4 to 8, 2 to 8 are kept
    assert all(usual <= wide for usual, wide in ranges.values())


@KINDS
def test_draws_are_new_in_each_epoch_step_and_seed_and_else_the_same(kind):
    images, policy = torch.from_numpy(images_of(60)), policy_of(kind)
    times = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    made = [apply_policy(policy, "constant", images, *time) for time in times]
    for first, second in combinations(made, 2):
        assert (first != second).flatten(1).any(1).double().mean() > 0.8
    assert torch.equal(made[0], apply_policy(policy, "constant", images, *times[0]))


@KINDS
def test_the_caller_s_images_stay_as_they_are(kind):
    images = torch.from_numpy(images_of(60))
    before = images.clone()
    assert not torch.equal(apply_policy(policy_of(kind), "constant", images, 0, 0, 0), before)
    assert torch.equal(images, before)
