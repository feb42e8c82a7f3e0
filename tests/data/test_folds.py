"""Folds of the training part: a partition, by class, that no other cut moves."""

import numpy as np
import pytest
from pydantic import ValidationError

from cifarlab.data.config import Data, Fold
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import held_out_fold, training_subsets
from cifarlab.system.errors import DataError


def data(number: int | None, n_splits: int = 3, groups=(), **other) -> Data:
    fold = None if number is None else {"n_splits": n_splits, "index": number, "groups": groups}
    return Data(source="digits", fold=fold, **other)


@pytest.mark.parametrize(
    "other",
    [{}, {"train_subset_fraction": 0.5}, {"label_noise": {"kind": "pair", "noise_rate": 0.3}}],
)
def test_folds_are_a_partition_by_class(other) -> None:
    dataset = open_dataset("digits")
    training, validation = training_subsets(dataset, data(None, **other))
    all_held_out = []
    for number in range(3):
        config = data(number, **other)
        kept, same = training_subsets(dataset, config)
        held_out = held_out_fold(dataset, config)
        assert np.array_equal(same.indices, validation.indices)
        assert np.array_equal(np.sort([*kept.indices, *held_out.indices]), training.indices)
        assert (np.diff(held_out.indices) > 0).all()
        for part in (kept, held_out):
            assert np.array_equal(part.labels, training.labels)
        sizes = np.bincount(held_out.labels[held_out.indices], minlength=10)
        expected = np.bincount(training.labels[training.indices], minlength=10) / 3
        assert (abs(sizes - expected) < 1).all()
        all_held_out += held_out.indices.tolist()
    assert sorted(all_held_out) == training.indices.tolist()


def test_the_split_seed_decides() -> None:
    dataset = open_dataset("digits")
    first, same_fold, other = (
        held_out_fold(dataset, data(0, split_seed=seed, val_fraction=0)).indices
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, same_fold) and not np.array_equal(first, other)


def test_without_a_fold_nothing_is_left_out() -> None:
    with pytest.raises(DataError, match="nothing is left out"):
        held_out_fold(open_dataset("digits"), data(None))


def left_out(n_splits: int, groups=(), **other) -> list[np.ndarray]:
    dataset = open_dataset("digits")
    return [
        held_out_fold(dataset, data(number, n_splits, groups, **other)).indices
        for number in range(n_splits)
    ]


def test_without_groups_each_class_is_dealt_like_cards() -> None:
    training, _ = training_subsets(open_dataset("digits"), data(None))
    labels = training.labels[training.indices]
    keys = np.random.PCG64((0, 4)).random_raw(len(labels))
    order = np.lexsort((keys, labels))
    for number, indices in enumerate(left_out(3)):
        assert np.array_equal(indices, np.sort(training.indices[order[number::3]]))


@pytest.mark.parametrize("n_splits", [2, 3, 7])
@pytest.mark.parametrize("other", [{}, {"label_noise": {"kind": "symmetric", "noise_rate": 0.3}}])
def test_groups_stay_whole_and_classes_even(n_splits: int, other) -> None:
    training, _ = training_subsets(open_dataset("digits"), data(None, **other))
    draws = np.random.default_rng(n_splits)
    sizes = draws.choice([2, 2, 2, 3, 5, 12], 80)
    mixed = np.split(draws.permutation(training.indices)[: sizes.sum()], np.cumsum(sizes)[:-1])
    groups = [group.tolist() for group in mixed]
    folds = left_out(n_splits, groups, **other)
    assert sorted(np.concatenate(folds)) == training.indices.tolist()
    for group in groups:
        assert sum(not set(group).isdisjoint(fold.tolist()) for fold in folds) == 1
    counts = np.stack([np.bincount(training.labels[fold], minlength=10) for fold in folds])
    assert (counts.max(0) - counts.min(0) <= 1).all()
    same_fold = left_out(n_splits, groups, **other)
    assert all(np.array_equal(a, b) for a, b in zip(folds, same_fold, strict=True))


def test_images_of_a_group_that_are_not_trained_on_are_passed_over() -> None:
    training, validation = training_subsets(open_dataset("digits"), data(None))
    foreign = [int(validation.indices[0]), 10**6]
    plain, odd = left_out(3), left_out(3, [foreign, [int(training.indices[5]), 10**7]])
    assert all(np.array_equal(np.sort(np.concatenate(f)), training.indices) for f in (plain, odd))


@pytest.mark.parametrize(
    "fold",
    [
        {"n_splits": 1, "index": 0},
        {"n_splits": 3, "index": 3},
        {"n_splits": 3},
        {"n_splits": 3, "index": 0, "groups": [[1, -2]]},
        {"n_splits": 3, "index": 0, "groups": [[1, 2], [2, 3]]},
    ],
)
def test_no_such_fold(fold) -> None:
    with pytest.raises(ValidationError):
        Fold.model_validate(fold)
