"""Open the images that a recipe names, and say in a line what was found."""

from itertools import accumulate

from cifarlab.data.config import Data
from cifarlab.data.dataset import Dataset, Log, Progress
from cifarlab.data.sources import open_dataset
from cifarlab.data.splits import count_test_images, training_subsets

_MAX_LETTERS = 60  # letters of class names that a line shows


def open_data(data: Data, progress: Progress | None = None, log: Log | None = None) -> Dataset:
    """Open the source of a recipe and log what it holds. Raises as ``open_dataset``."""
    dataset = open_dataset(
        data.source, label_mode=data.label_mode, images=data.images, progress=progress
    )
    if log:
        for line in summary(dataset, data):
            log(line)
    return dataset


def summary(dataset: Dataset, data: Data) -> list[str]:
    """Return classes, images by part, their size and what was skipped, in a line; then notes.

    The test split is not opened. Raises DataError as ``training_subsets`` does.
    """
    training, validation = training_subsets(dataset, data)
    sizes = {
        "train": len(training),
        "val": len(validation or ()),
        "test": count_test_images(dataset, data),
    }
    part_sizes = " + ".join(f"{size:,} {part}" for part, size in sizes.items() if size)
    height, width, channels = dataset.image_shape
    color = "grey" if channels == 1 else "colour"
    skipped = f"; {len(dataset.skipped):,} skipped" if dataset.skipped else ""
    line = (
        f"{len(dataset.classes)} classes: {_truncate_names(dataset.classes)}; {part_sizes} images "
        f"of {height} x {width}, {color}{skipped}"
    )
    if not dataset.channels_equal or data.images.channels == "rgb":
        return [line]
    return [
        line,
        "note: all images are grey, stored in colour: data.images.channels=grey makes them a third "
        "as large",
    ]


def _truncate_names(names: tuple[str, ...]) -> str:
    """Return the first names, one at least, as many as a line has room for."""
    lengths = list(accumulate(len(name) + 2 for name in names))
    shown = names[: max(1, sum(length <= _MAX_LETTERS for length in lengths))]
    return ", ".join(name[:_MAX_LETTERS] for name in shown) + (
        ", ..." if len(shown) < len(names) else ""
    )
