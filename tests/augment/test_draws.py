"""A part of a batch has the draws of the whole: what is read changes no image."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cifarlab.augment.draws import select_shard
from cifarlab.augment.pipeline import Augmentation
from cifarlab.data.batch_sizes import batch_sizes
from cifarlab.data.dataset import Subset
from cifarlab.data.loader import Loader
from cifarlab.recipes.text import build

COUNT, SHAPE = 23, (9, 8, 3)
AUGMENTS = {
    "nothing": {},
    "crop": {"crop": {"padding": 2}, "hflip": "random", "vflip": True},
    "alternating": {"hflip": "alternating", "cutout": 3},
    "moved": {"degrees": 20, "scale": 0.1, "translate": 0.1, "cutout": 4, "cutout_inside": True},
    "shifted": {"translate": 0.2},
    "coloured": {
        "color_jitter": {"brightness_shift": 0.1, "contrast": 0.2, "saturation": 0.3, "hue": 0.1},
        "gaussian_noise": {"sigma": 0.05},
    },
    "randaugment": {"policy": {"kind": "randaugment"}},
    "trivialaugment": {"policy": {"kind": "trivialaugment"}},
}


def loader(augment: dict, reads=lambda _: None) -> Loader:
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
    subset = Subset(images, np.arange(COUNT), np.arange(COUNT))
    augmentation = Augmentation(build({"augment": augment}).augment, SHAPE, 5)
    return Loader(subset, augmentation, batch_sizes(COUNT, 10), 5, torch.device("cpu"), reads)


def every_third(images: int) -> Tensor:
    return torch.arange(1, images, 3)


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
def test_the_images_read_are_those_of_the_whole_batch(augment: dict) -> None:
    for epoch in (0, 1):
        batches, shards = loader(augment).epoch(epoch), loader(augment, every_third).epoch(epoch)
        sizes = []
        for all_, some in zip(batches, shards, strict=True):
            indices = every_third(len(all_.labels))
            assert torch.equal(some.labels, all_.labels[indices])
            assert torch.equal(some.images, all_.images[indices])
            assert some.global_size == all_.global_size == len(all_.labels)
            sizes.append((all_.global_size, len(some.labels)))
        assert sizes == [(8, 3), (8, 3), (7, 2)]


def test_every_augmentation_does_something() -> None:
    """So that the comparison above can fail."""
    plain = next(loader({}).epoch(0)).images
    for augment in list(AUGMENTS.values())[1:]:
        assert not torch.equal(next(loader(augment).epoch(0)).images.float(), plain.float())


def test_without_indices_all_rows_are_selected() -> None:
    rows = torch.arange(4)
    assert select_shard(rows, None) is rows
    assert select_shard(rows, torch.tensor([0, 3])).tolist() == [0, 3]
