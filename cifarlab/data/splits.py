"""Training, validation and test parts, cut by class and seed; statistics of a part.

Everything here is a pure function of labels, fractions and seed. Only ``test_subset`` opens a
source's test split.
"""

import math
from dataclasses import replace

import numpy as np

from cifarlab.data.config import Data
from cifarlab.data.dataset import Dataset, Split, Subset
from cifarlab.system.errors import DataError, RecipeError

_TEST, _VAL, _TRAIN_SUBSET, _FOLD = 1, 2, 3, 4  # each cut draws from a stream of its own
_CHUNK = 1024  # the sums below hold 32 bits: up to 66,051 images of one chunk would fit


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int | tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a fraction off each class at random: (kept, cut), ascending int64 indices of ``labels``.

    ``labels`` is (N,); floor(fraction * N + 1/2) are cut, divided among the classes in proportion
    to their sizes by largest remainder. Raises DataError if a class would keep no image, or if a
    fraction above 0 cuts none.
    """
    classes, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    total = math.floor(fraction * len(labels) + 0.5)
    if fraction > 0 and total == 0:
        raise DataError(
            f"a fraction of {fraction:g} of {len(labels)} images cuts none",
            "raise the fraction, or set 0",
        )
    counts = _largest_remainder(sizes, total)
    if (counts >= sizes).any():
        worst = classes[int(np.argmax(counts >= sizes))]
        raise DataError(
            f"cutting a fraction of {fraction:g} leaves class {worst} without a training image",
            "lower data.val_fraction or data.test_fraction, raise data.train_subset_fraction, or "
            "add images to that class",
        )
    # The raw stream of a bit generator never changes between numpy versions; permutation may.
    keys = np.random.PCG64(seed).random_raw(len(labels))
    cut = np.zeros(len(labels), dtype=bool)
    order = np.lexsort((keys, inverse))
    starts = np.cumsum(sizes) - sizes
    for start, count in zip(starts, counts, strict=True):
        cut[order[start : start + count]] = True
    return np.flatnonzero(~cut), np.flatnonzero(cut)


def _largest_remainder(sizes: np.ndarray, total: int) -> np.ndarray:
    """Divide ``total`` in proportion to ``sizes`` (K,); ties go to the smaller class number."""
    exact = sizes.astype(np.int64) * total
    n = max(int(sizes.sum()), 1)
    counts = exact // n
    remaining = total - int(counts.sum())
    counts[np.argsort(-(exact % n), kind="stable")[:remaining]] += 1
    return counts


def training_subsets(dataset: Dataset, data: Data) -> tuple[Subset, Subset | None]:
    """Give the training part and the validation part; the latter is None at ``val_fraction: 0``.

    A source without a test split first loses ``data.test_fraction`` of its images, exactly those
    that ``test_subset`` gives. A source with its own validation split keeps it. Of what is left for
    training, ``data.train_subset_fraction`` is kept, with the labels that ``data.label_noise``
    gives them, and ``data.fold`` of that left out. Never reads a source's test split. Raises
    DataError as ``stratified_split`` does, RecipeError where the label noise
    does not fit the classes.
    """
    training, validation = _training_subset(dataset, data)
    if data.fold is None:
        return training, validation
    kept = training.indices[_assign_folds(training, data) != data.fold.index]
    return replace(training, indices=kept), validation


def held_out_fold(dataset: Dataset, data: Data) -> Subset:
    """Return the training images that ``data.fold`` leaves out, with the labels of training.

    Raises DataError where ``data.fold`` leaves out none, else as ``training_subsets``.
    """
    if data.fold is None:
        raise DataError("data.fold is null: nothing is left out", "set data.fold")
    training, _ = _training_subset(dataset, data)
    held_out = training.indices[_assign_folds(training, data) == data.fold.index]
    return replace(training, indices=held_out)


def _assign_folds(training: Subset, data: Data) -> np.ndarray:
    """Deal the training images (n,) out to folds, shuffled: groups whole, and classes evenly.

    The groups first, the largest first, then the other images class by class. Each goes to the
    fold that has fewest images of its classes, of several such folds to that with fewest in all.
    """
    assert data.fold is not None
    indices, labels = training.indices.tolist(), training.labels[training.indices]
    keys = np.random.PCG64((data.split_seed, _FOLD)).random_raw(len(labels))
    rows = {index: row for row, index in enumerate(indices)}
    groups = [[rows[index] for index in group if index in rows] for group in data.fold.groups]
    groups = sorted(filter(None, groups), key=lambda group: (-len(group), keys[group[0]]))
    grouped = {row for group in groups for row in group}
    singles = [[row] for row in np.lexsort((keys, labels)).tolist() if row not in grouped]
    numbers, classes = np.empty(len(labels), dtype=np.int64), labels.tolist()
    # for each fold the number of its images by class, and in all
    counts_by_fold = [([0] * (max(classes, default=0) + 1), [0]) for _ in range(data.fold.n_splits)]
    for group in groups + singles:
        group_classes = [classes[row] for row in group]
        sizes = [
            (sum(by_class[k] for k in group_classes), total[0])
            for by_class, total in counts_by_fold
        ]
        number = sizes.index(min(sizes))
        for k in group_classes:
            counts_by_fold[number][0][k] += 1
        counts_by_fold[number][1][0] += len(group)
        numbers[group] = number
    return numbers


def _training_subset(dataset: Dataset, data: Data) -> tuple[Subset, Subset | None]:
    """``training_subsets`` before a fold is left out."""
    train = dataset.read("train")
    rest, _ = _split_off_test(dataset, data, train)
    validation = None
    if data.val_fraction and "val" in dataset.split_names:
        validation = _subset(dataset.read("val"))
    elif data.val_fraction:
        seed = (data.split_seed, _VAL)
        kept, cut = stratified_split(train.labels[rest], data.val_fraction, seed)
        validation, rest = _subset(train, rest[cut]), rest[kept]
    training = _subset(train, _subsample(train, rest, data))
    labels = _add_noise(training, data, len(dataset.classes))
    return replace(training, labels=labels), validation


def _add_noise(training: Subset, data: Data, classes: int) -> np.ndarray:
    """Return the split's labels as ``data.label_noise`` has them."""
    labels = data.label_noise.flip(training.labels, classes, training.indices)
    kept_type = labels.shape == training.labels.shape and labels.dtype == np.int64
    if not kept_type or labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise RecipeError(
            f"data.label_noise.kind={data.label_noise.kind} gives no {len(training.labels)} labels "
            f"int64 from 0 to {classes - 1}",
            "mend its flip(labels, classes, indices)",
        )
    return labels


def _subsample(train: Split, rest: np.ndarray, data: Data) -> np.ndarray:
    """Return the fraction of ``rest`` that is trained on, still ascending."""
    if data.train_subset_fraction == 1:
        return rest
    kept, _ = stratified_split(
        train.labels[rest], 1 - data.train_subset_fraction, (data.split_seed, _TRAIN_SUBSET)
    )
    return rest[kept]


def test_subset(dataset: Dataset, data: Data) -> Subset:
    """Give the source's test split, or the part cut off where it has none. Raises DataError."""
    if "test" in dataset.split_names:
        return _subset(dataset.read("test"))
    train = dataset.read("train")
    return _subset(train, _split_off_test(dataset, data, train)[1])


test_subset.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


def count_test_images(dataset: Dataset, data: Data) -> int:
    """Return how many images ``test_subset`` gives, without opening a test split."""
    if "test" in dataset.split_names:
        return dataset.split_sizes["test"]
    return len(_split_off_test(dataset, data, dataset.read("train"))[1])


def _subset(split: Split, indices: np.ndarray | None = None) -> Subset:
    """Return the images at ``indices`` (n,) of a split, by default all."""
    indices = np.arange(len(split), dtype=np.int64) if indices is None else indices
    return Subset(split.images, split.labels, indices, split.names)


def _split_off_test(dataset: Dataset, data: Data, train: Split) -> tuple[np.ndarray, np.ndarray]:
    if "test" in dataset.split_names:
        return np.arange(len(train), dtype=np.int64), np.empty(0, dtype=np.int64)
    return stratified_split(train.labels, data.test_fraction, (data.split_seed, _TEST))


def channel_statistics(subset: Subset) -> tuple[np.ndarray, np.ndarray]:
    """Return channel means and population standard deviations in units of 0..1: float64 (C,).

    Summed in exact integers, so the result depends on no order; memory stays bounded. Raises
    DataError for an empty part.
    """
    if not len(subset):
        raise DataError("a part without images has no statistics", "give it at least one image")
    channels = subset.images.shape[3]
    sums = np.zeros(channels, dtype=np.int64)
    squares = np.zeros(channels, dtype=np.int64)
    for start in range(0, len(subset), _CHUNK):
        chunk = subset.images[subset.indices[start : start + _CHUNK]]
        rows = chunk.reshape(len(chunk), -1)  # summing over images first is the fast direction
        sums += _sum_by_channel(rows, channels)
        squares += _sum_by_channel(np.square(rows, dtype=np.uint16), channels)
    pixels = len(subset) * math.prod(subset.images.shape[1:3])
    # n * sum(x^2) - sum(x)^2 cancels; Python's integers lose nothing.
    variances = [pixels * int(q) - int(s) ** 2 for s, q in zip(sums, squares, strict=True)]
    mean = np.array([int(s) / (255 * pixels) for s in sums])
    return mean, np.array([math.sqrt(v) / (255 * pixels) for v in variances])


def _sum_by_channel(rows: np.ndarray, channels: int) -> np.ndarray:
    return rows.sum(axis=0, dtype=np.uint32).reshape(-1, channels).sum(axis=0, dtype=np.int64)
