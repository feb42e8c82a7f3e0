"""Cuts by class and seed, and exact statistics."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sources import as_tar, class_folders

from cifarlab.data.config import Data
from cifarlab.data.dataset import Dataset, Subset
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import channel_statistics, stratified_split, test_subset, training_subsets
from cifarlab.system.errors import DataError


def opened(path: Path, **splits: int) -> Dataset:
    return open_dataset(str(as_tar(path / "a.tar", class_folders(splits or {"": 20}))))


labels_of = st.lists(st.integers(0, 5), min_size=1, max_size=300).map(np.array)


@given(labels=labels_of, fraction=st.floats(0, 0.99), seed=st.integers(0, 2**40))
def test_a_cut_is_a_partition_in_proportion(labels, fraction, seed):
    try:
        kept, cut = stratified_split(labels, fraction, seed)
    except DataError:
        return
    total = int(np.floor(fraction * len(labels) + 0.5))
    assert len(cut) == total and kept.dtype == cut.dtype == np.int64
    assert sorted([*kept, *cut]) == list(range(len(labels)))
    assert (np.diff(kept) > 0).all() and (np.diff(cut) > 0).all()
    for name, size in zip(*np.unique(labels, return_counts=True), strict=True):
        assert abs((labels[cut] == name).sum() - total * size / len(labels)) < 1
        assert (labels[kept] == name).any()


@given(labels=labels_of, fraction=st.floats(0.001, 0.99))
def test_a_refused_cut_was_impossible(labels, fraction):
    try:
        stratified_split(labels, fraction, 0)
    except DataError as error:
        sizes = np.unique(labels, return_counts=True)[1]
        if "cuts none" in error.what:
            assert fraction * len(labels) < 0.5
        else:
            assert (np.ceil(fraction * sizes + sizes / 2 / len(labels)) >= sizes).any()


def test_the_seed_decides_and_nothing_else():
    labels = np.arange(1000) % 10
    indices, same_indices = (stratified_split(labels, 0.1, 7)[1] for _ in range(2))
    np.testing.assert_array_equal(indices, same_indices)
    assert not np.array_equal(indices, stratified_split(labels, 0.1, 8)[1])
    assert np.bincount(labels[indices]).tolist() == [10] * 10


def test_the_cut_is_pinned():
    """A split that changes with a library would change every validation score."""
    assert stratified_split(np.arange(20) % 2, 0.2, 0)[1].tolist() == [2, 3, 11, 18]


def test_impossible_cuts_are_refused():
    with pytest.raises(DataError, match="cuts none"):
        stratified_split(np.array([0, 0, 1, 1]), 0.1, 0)
    with pytest.raises(DataError, match="leaves class 1 without"):
        stratified_split(np.array([0] * 5 + [1]), 0.6, 0)


def test_all_three_ways_to_a_validation_part(tmp_path):
    data = Data(val_fraction=0.25)
    with_splits = opened(tmp_path, train=8, val=3, test=2)
    train, val = training_subsets(with_splits, data)
    assert (len(train), len(val), len(test_subset(with_splits, data))) == (16, 6, 4)
    without_val = open_dataset(
        str(as_tar(tmp_path / "b.tar", class_folders({"train": 8, "test": 2})))
    )
    train, val = training_subsets(without_val, data)
    assert (len(train), len(val), len(test_subset(without_val, data))) == (12, 4, 4)
    assert train.images is val.images, "no image is copied"
    for dataset in (with_splits, without_val):
        train, val = training_subsets(dataset, Data(val_fraction=0))
        assert len(train) == 16 and val is None


def test_without_a_test_split_one_is_cut_first(tmp_path):
    dataset = opened(tmp_path)
    data = Data(val_fraction=0.25, test_fraction=0.2)
    train, val = training_subsets(dataset, data)
    test = test_subset(dataset, data)
    assert (len(train), len(val), len(test)) == (24, 8, 8)
    together = np.concatenate([train.indices, val.indices, test.indices])
    assert sorted(together) == list(range(40))
    for part in (train, val, test):
        assert len(set(np.bincount(part.labels[part.indices]))) == 1
    np.testing.assert_array_equal(
        test.indices, test_subset(dataset, Data(val_fraction=0, test_fraction=0.2)).indices
    )
    assert not np.array_equal(
        test.indices, test_subset(dataset, Data(test_fraction=0.2, split_seed=1)).indices
    )


@pytest.mark.parametrize("validation", [0, 0.25])
def test_a_fraction_of_the_training_images_is_the_same_of_each_class(tmp_path, validation):
    dataset = opened(tmp_path, train=80, test=2)
    all_training, held_out = training_subsets(dataset, Data(val_fraction=validation))
    data = Data(val_fraction=validation, train_subset_fraction=0.1)
    train, val = training_subsets(dataset, data)
    assert np.bincount(train.labels[train.indices]).tolist() == [len(all_training) // 20] * 2
    assert set(train.indices) < set(all_training.indices) and (np.diff(train.indices) > 0).all()
    if held_out:
        np.testing.assert_array_equal(val.indices, held_out.indices)
    assert len(test_subset(dataset, data)) == len(test_subset(dataset, Data()))
    other = training_subsets(dataset, data.model_copy(update={"split_seed": 1}))[0]
    assert not np.array_equal(other.indices, train.indices)


def test_a_larger_fraction_has_all_of_a_smaller_one(tmp_path):
    dataset = opened(tmp_path, train=80, test=2)
    small, large = (
        set(training_subsets(dataset, Data(train_subset_fraction=fraction))[0].indices)
        for fraction in (0.1, 0.5)
    )
    assert small < large


def test_a_fraction_that_leaves_a_class_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="without a training image") as caught:
        training_subsets(opened(tmp_path, train=8, test=2), Data(train_subset_fraction=0.01))
    assert "raise data.train_subset_fraction" in caught.value.hint


def test_training_never_reads_the_test_split(tmp_path, monkeypatch):
    dataset = opened(tmp_path, train=8, test=2)
    read, real = [], Dataset.read
    monkeypatch.setattr(
        Dataset, "read", lambda self, split: read.append(split) or real(self, split)
    )
    training_subsets(dataset, Data())
    assert set(read) == {"train"}
    test_subset(dataset, Data())
    assert read[-1] == "test"


@settings(max_examples=30)
@given(
    n=st.integers(1, 40),
    side=st.integers(1, 5),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 1000),
)
def test_statistics_equal_the_plain_computation(n, side, channels, seed):
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (n, side, side, channels), dtype=np.uint8)
    indices = np.flatnonzero(draw.random(n) < 0.7)
    if not len(indices):
        indices = np.array([0])
    mean, std = channel_statistics(Subset(images, np.zeros(n, np.int64), indices))
    plain = images[indices].astype(np.float64) / 255
    np.testing.assert_allclose(mean, plain.mean(axis=(0, 1, 2)), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(std, plain.std(axis=(0, 1, 2)), rtol=1e-9, atol=1e-9)
    assert mean.dtype == std.dtype == np.float64 and mean.shape == std.shape == (channels,)


def test_statistics_neither_overflow_nor_round():
    n = 3000
    white = Subset(np.full((n, 8, 8, 3), 255, np.uint8), np.zeros(n, int), np.arange(n))
    mean, std = channel_statistics(white)
    assert mean.tolist() == [1, 1, 1] and std.tolist() == [0, 0, 0]
    half = np.zeros((n, 8, 8, 1), np.uint8)
    half[::2] = 255
    mean, std = channel_statistics(Subset(half, np.zeros(n, int), np.arange(n)))
    assert mean.tolist() == [0.5] and std.tolist() == [0.5]


def test_statistics_of_nothing_are_refused():
    nothing = Subset(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, int), np.arange(0))
    with pytest.raises(DataError, match="without images"):
        channel_statistics(nothing)
