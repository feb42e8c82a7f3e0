"""Folds of the training part: a partition, by class, that no other cut moves."""

import numpy as np
import pytest
from pydantic import ValidationError

from cifarlab.data import fold_left_out, open_dataset, training_subsets
from cifarlab.errors import DataError
from cifarlab.recipe.images import Data, Fold


def data(number: int | None, of: int = 3, **other) -> Data:
    fold = None if number is None else {"of": of, "number": number}
    return Data(source="digits", fold=fold, **other)


@pytest.mark.parametrize("other", [{}, {"share": 0.5}, {"noise": {"kind": "pair", "share": 0.3}}])
def test_folds_are_a_partition_by_class(other) -> None:
    dataset = open_dataset("digits")
    whole, validation = training_subsets(dataset, data(None, **other))
    every = []
    for number in range(3):
        mine = data(number, **other)
        kept, same = training_subsets(dataset, mine)
        left = fold_left_out(dataset, mine)
        assert np.array_equal(same.indices, validation.indices)
        assert np.array_equal(np.sort([*kept.indices, *left.indices]), whole.indices)
        assert (np.diff(left.indices) > 0).all()
        for part in (kept, left):
            assert np.array_equal(part.labels, whole.labels)
        sizes = np.bincount(left.labels[left.indices], minlength=10)
        expected = np.bincount(whole.labels[whole.indices], minlength=10) / 3
        assert (abs(sizes - expected) < 1).all()
        every += left.indices.tolist()
    assert sorted(every) == whole.indices.tolist()


def test_the_split_seed_decides() -> None:
    dataset = open_dataset("digits")
    first, again, other = (
        fold_left_out(dataset, data(0, split_seed=seed, validation=0)).indices for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_without_a_fold_nothing_is_left_out() -> None:
    with pytest.raises(DataError, match="nothing is left out"):
        fold_left_out(open_dataset("digits"), data(None))


@pytest.mark.parametrize("fold", [{"of": 1, "number": 0}, {"of": 3, "number": 3}, {"of": 3}])
def test_no_such_fold(fold) -> None:
    with pytest.raises(ValidationError):
        Fold.model_validate(fold)
