"""Split images into training, validation and test parts by class and seed; statistics of a part.

All of it is a pure function of labels, fractions and seed. Only ``test_subset`` opens a source's
test split.
"""

import math
from dataclasses import replace

import numpy as np

from cifarlab.config.plugins import plugin_errors
from cifarlab.data.config import Data, Fold
from cifarlab.data.dataset import Dataset, Subset
from cifarlab.system.errors import DataError, RecipeError

_TEST, _VAL, _TRAIN_SUBSET, _FOLD = 1, 2, 3, 4  # each cut has its own random stream


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int | tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a fraction off each class at random: (kept, cut), ascending int64 indices of ``labels``.

    floor(fraction * N + 1/2) images are cut, divided among the classes in proportion to their
    sizes, by largest remainder.

    Args:
        labels: integers (N,)
        fraction: what is cut, 0..1
        seed: decides which images are cut

    Raises:
        DataError: a class would keep no image, or a fraction above 0 would cut none
    """
    classes, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    total = math.floor(fraction * len(labels) + 0.5)
    if fraction > 0 and total == 0:
        what = f"a fraction of {fraction:g} of {len(labels)} images cuts none"
        raise DataError(what, "raise the fraction, or set 0")
    # images that the division leaves over go to the largest remainders, of equals to the first
    quotas, n = sizes * total, max(len(labels), 1)
    counts = quotas // n
    counts[np.argsort(-(quotas % n), kind="stable")[: total - counts.sum()]] += 1
    if (counts >= sizes).any():
        name = classes[int(np.argmax(counts >= sizes))]
        raise DataError(
            f"cutting a fraction of {fraction:g} leaves class {name} without a training image",
            "lower data.val_fraction or data.test_fraction, raise data.train_subset_fraction, or "
            "add images to that class",
        )
    # The raw stream of a bit generator never changes between numpy versions; permutation may.
    keys = np.random.PCG64(seed).random_raw(len(labels))
    ranks = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # in their class
    is_cut = np.zeros(len(labels), dtype=bool)
    is_cut[np.lexsort((keys, inverse))] = ranks < np.repeat(counts, sizes)
    return np.flatnonzero(~is_cut), np.flatnonzero(is_cut)


def _split_subset(subset: Subset, fraction: float, seed: tuple[int, ...]) -> tuple[Subset, Subset]:
    """Return the images of a part that ``stratified_split`` keeps, and those it cuts off."""
    kept_rows, cut_rows = stratified_split(subset.labels[subset.indices], fraction, seed)
    indices = subset.indices
    return replace(subset, indices=indices[kept_rows]), replace(subset, indices=indices[cut_rows])


def training_subsets(dataset: Dataset, data: Data) -> tuple[Subset, Subset | None]:
    """Return the training part and the validation part, which is None at ``val_fraction: 0``.

    A source's own test split is never read; from one without, the images of ``test_subset`` are cut
    off first. A source's own validation split is used as it is, else ``data.val_fraction`` is cut
    off. Of the rest ``data.train_subset_fraction`` is kept, with labels changed by
    ``data.label_noise``, and ``data.fold`` is left out of it.

    Cuts raise DataError as ``stratified_split`` does; label noise that does not fit the classes is
    a RecipeError.
    """
    training, validation = _training_subset(dataset, data)
    if data.fold is None:
        return training, validation
    return _select_fold(training, data, data.fold, left_out=False), validation


def held_out_fold(dataset: Dataset, data: Data) -> Subset:
    """Return the training images that ``data.fold`` leaves out, with the labels of training.

    Raises:
        DataError: ``data.fold`` is null; other errors are those of ``training_subsets``
    """
    if data.fold is None:
        raise DataError("data.fold is null: nothing is left out", "set data.fold")
    return _select_fold(_training_subset(dataset, data)[0], data, data.fold, left_out=True)


def _select_fold(training: Subset, data: Data, fold: Fold, left_out: bool) -> Subset:
    """Return the images of a fold if ``left_out``, else all others."""
    in_fold = _assign_folds(training, data.split_seed, fold) == fold.index
    return replace(training, indices=training.indices[in_fold == left_out])


def _assign_folds(training: Subset, seed: int, fold: Fold) -> np.ndarray:
    """Return the fold of each training image, int64 (n,): groups stay whole, classes are even.

    Groups come first, the largest first, then the other images class by class, shuffled. Each goes
    to the fold that has fewest images of its classes; of several such folds, to that with fewest in
    all.
    """
    labels = training.labels[training.indices]
    keys = np.random.PCG64((seed, _FOLD)).random_raw(len(labels))
    rows = {index: row for row, index in enumerate(training.indices.tolist())}
    groups = [[rows[index] for index in group if index in rows] for group in fold.groups]
    groups = sorted(filter(None, groups), key=lambda group: (-len(group), keys[group[0]]))
    grouped = {row for group in groups for row in group}
    singles = [[row] for row in np.lexsort((keys, labels)).tolist() if row not in grouped]
    numbers = np.empty(len(labels), dtype=np.int64)
    counts = np.zeros((fold.n_splits, labels.max(initial=0) + 1), dtype=np.int64)
    for group in groups + singles:
        number = np.lexsort((counts.sum(1), counts[:, labels[group]].sum(1)))[0]
        np.add.at(counts[number], labels[group], 1)
        numbers[group] = number
    return numbers


def _training_subset(dataset: Dataset, data: Data) -> tuple[Subset, Subset | None]:
    """Return ``training_subsets`` before a fold is left out."""
    training, _ = _split_off_test(dataset, data)
    validation = None
    if data.val_fraction and "val" in dataset.split_names:
        validation = dataset.read("val")
    elif data.val_fraction:
        training, validation = _split_subset(training, data.val_fraction, (data.split_seed, _VAL))
    if (subset_fraction := data.train_subset_fraction) < 1:
        training, _ = _split_subset(training, 1 - subset_fraction, (data.split_seed, _TRAIN_SUBSET))
    labels = _add_noise(training, data, len(dataset.classes))
    return replace(training, labels=labels), validation


def _add_noise(training: Subset, data: Data, classes: int) -> np.ndarray:
    """Return the split's labels as ``data.label_noise`` changes them. Raises RecipeError."""
    with plugin_errors(data.label_noise):
        labels = data.label_noise.flip(training.labels, classes, training.indices)
    kept_type = labels.shape == training.labels.shape and labels.dtype == np.int64
    if not kept_type or labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise RecipeError(
            f"data.label_noise.kind={data.label_noise.kind} gives no {len(training.labels)} labels "
            f"int64 from 0 to {classes - 1}",
            "mend its flip(labels, classes, indices)",
        )
    return labels


def test_subset(dataset: Dataset, data: Data) -> Subset:
    """Return the source's test split, or the part cut off where it has none."""
    has_test = "test" in dataset.split_names
    return dataset.read("test") if has_test else _split_off_test(dataset, data)[1]


test_subset.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


def count_test_images(dataset: Dataset, data: Data) -> int:
    """Return the number of images of ``test_subset``, without opening a test split."""
    return dataset.split_sizes.get("test") or len(_split_off_test(dataset, data)[1])


def _split_off_test(dataset: Dataset, data: Data) -> tuple[Subset, Subset]:
    """Return the training images, and those cut off for test: none of a source that has a split."""
    train = dataset.read("train")
    if "test" in dataset.split_names:
        return train, replace(train, indices=train.indices[:0])
    return _split_subset(train, data.test_fraction, (data.split_seed, _TEST))


def channel_statistics(subset: Subset) -> tuple[np.ndarray, np.ndarray]:
    """Return channel means and population standard deviations in units of 0..1: float64 (C,).

    Sums are exact integers, so that the order of the images changes nothing; memory is bounded.

    Raises:
        DataError: the part has no image
    """
    if not len(subset):
        raise DataError("a part without images has no statistics", "give it at least one image")
    channels = subset.images.shape[3]
    sums, squares = np.zeros((2, channels), dtype=np.int64)
    for chunk in subset.chunks():
        rows = chunk.reshape(len(chunk), -1)  # summing over images first is the fast direction
        for total, values in ((sums, rows), (squares, np.square(rows, dtype=np.uint16))):
            # 32 bits hold the squares of up to 66,051 images
            by_value = values.sum(axis=0, dtype=np.uint32).reshape(-1, channels)
            total += by_value.sum(axis=0, dtype=np.int64)
    pixels = len(subset) * math.prod(subset.images.shape[1:3])
    # n * sum(x^2) - sum(x)^2 cancels; Python's integers lose nothing.
    variances = [pixels * int(q) - int(s) ** 2 for s, q in zip(sums, squares, strict=True)]
    mean = np.array([int(s) / (255 * pixels) for s in sums])
    return mean, np.array([math.sqrt(v) / (255 * pixels) for v in variances])
