"""Sources, splits and their statistics: from a name or path to uint8 images and labels.

Read in this order: ``sources`` (what is asked for), ``archives`` and ``images`` (bytes to pixels;
``single``: of one file for a network),
``layout`` (paths to classes), ``cache`` (decoded once), ``splits`` (who may see what).
"""

from cifarlab.data.dataset import Dataset, Split, Subset
from cifarlab.data.opening import open_data, summary
from cifarlab.data.sources import cached_dataset, open_dataset
from cifarlab.data.splits import (
    channel_statistics,
    fold_left_out,
    stratified_cut,
    test_subset,
    training_subsets,
)

__all__ = [
    "Dataset",
    "Split",
    "Subset",
    "cached_dataset",
    "channel_statistics",
    "fold_left_out",
    "open_data",
    "open_dataset",
    "stratified_cut",
    "summary",
    "test_subset",
    "training_subsets",
]
