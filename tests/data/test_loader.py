"""The loader: every image once per epoch, in an order and with draws that only the seed decides."""

import hashlib
from typing import Literal

import numpy as np
import pytest
import torch

from cifarlab.augment.config import Augment
from cifarlab.augment.mixing import MixConfig
from cifarlab.augment.pipeline import Augmentation
from cifarlab.config.family import allow_plugins, set_kind_owner
from cifarlab.data.batch_sizes import batch_sizes
from cifarlab.data.dataset import Subset
from cifarlab.data.loader import Loader
from cifarlab.data.samplers import SamplerConfig, UniformSampler
from cifarlab.system.errors import DataError, RecipeError

PLAIN = {}
UNIFORM = UniformSampler()
ALL = {"crop": {"padding": 2, "padding_mode": "reflect"}, "hflip": "random"}
BY_TURNS = {"crop": {"padding": 2}, "hflip": "alternating"}
every_augment = pytest.mark.parametrize("augment", [PLAIN, ALL, BY_TURNS], ids=str)


def number_images(count):
    """Images that all differ, with their place as label."""
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)
    return images, np.arange(count, dtype=np.int64)


def loader(
    count=50, batch_size=16, seed=0, augment=PLAIN, indices=None, images=None, sampler=UNIFORM
):
    pixels, labels = number_images(count)
    indices = np.arange(count) if indices is None else np.array(indices)
    subset = Subset(pixels if images is None else images, labels, indices.astype(np.int64))
    with allow_plugins(["given"]):
        config = Augment.model_validate(augment)
    augmentation = Augmentation(config, pixels.shape[1:], seed)
    sizes = batch_sizes(len(subset), batch_size)
    return Loader(subset, augmentation, sizes, seed, torch.device("cpu"), sampler=sampler)


def join(batches):
    images, labels, *_ = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def assert_same(batch, expected):
    for a, b in zip(batch, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("epoch", [0, 1, 7])
@pytest.mark.parametrize(("count", "batch_size"), [(50, 16), (48, 16), (5, 99), (2, 2), (4, 3)])
def test_each_image_once_per_epoch_with_its_label(count, batch_size, epoch):
    images, labels = join(loader(count, batch_size).epoch(epoch))
    assert len(labels) == len(labels.unique()) == count
    np.testing.assert_array_equal(images.numpy(), number_images(count)[0][labels.numpy()])


def test_shapes_and_types():
    batches = list(loader(50, 16).epoch(0))
    assert [len(b.labels) for b in batches] == [13, 13, 12, 12]
    assert {(b.images.dtype, b.labels.dtype) for b in batches} == {(torch.uint8, torch.int64)}
    assert batches[-1].images.shape == (12, 6, 5, 3)


@pytest.mark.parametrize(
    ("count", "batch_size"),
    [(48, 16), (49, 16), (50, 16), (3, 2), (2, 2), (3, 1), (17, 99), (1294, 128)],
)
def test_its_batches_are_those_of_the_rule(count, batch_size):
    made = loader(count, batch_size)
    assert [len(batch.labels) for batch in made.epoch(0)] == batch_sizes(count, batch_size)


def test_only_the_subset_s_images_are_shown():
    indices = [3, 5, 8, 13, 21, 34]
    images, labels = join(loader(indices=indices, batch_size=4).epoch(0))
    assert sorted(labels.tolist()) == indices
    np.testing.assert_array_equal(images.numpy(), number_images(50)[0][labels.numpy()])


@every_augment
def test_the_same_seed_gives_the_same_batches(augment):
    batches, same_batches = (loader(augment=augment, seed=3) for _ in range(2))
    list(batches.epoch(0))  # what was drawn before must not matter
    torch.rand(7)
    assert_same(join(batches.epoch(2)), join(same_batches.epoch(2)))


@every_augment
def test_another_seed_or_epoch_gives_other_batches(augment):
    batches = join(loader(augment=augment, seed=3).epoch(2))
    for seed, epoch in ((4, 2), (3, 1), (2, 3)):
        images, labels = join(loader(augment=augment, seed=seed).epoch(epoch))
        assert not torch.equal(labels, batches[1])
        assert not torch.equal(images, batches[0])


@pytest.mark.parametrize("augment", [ALL, BY_TURNS], ids=str)
def test_the_same_image_looks_different_in_another_epoch(augment):
    made = loader(augment=augment)
    images, labels = join(made.epoch(0))
    other_images, labels_again = join(made.epoch(1))
    changed = (images[labels.argsort()] != other_images[labels_again.argsort()]).flatten(1).any(1)
    assert changed.double().mean() > 0.5


@every_augment
def test_the_number_of_threads_changes_nothing(augment):
    before = torch.get_num_threads()
    epochs = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            epochs.append(join(loader(3000, 256, augment=augment).epoch(1)))
    finally:
        torch.set_num_threads(before)
    assert_same(*epochs)


@pytest.mark.parametrize("batch_size", [2, 7, 16, 50, 999])
def test_the_batch_size_does_not_change_the_order(batch_size):
    expected = loader(50, 50).order(3)
    assert torch.equal(loader(50, batch_size).order(3), expected)
    labels = join(loader(50, batch_size).epoch(3))[1]
    assert torch.equal(labels, expected)


@every_augment
@pytest.mark.parametrize(("start", "stop"), [(0, None), (2, None), (1, 3), (0, 1), (3, 3), (4, 4)])
def test_a_slice_is_that_part_of_the_whole_epoch(augment, start, stop):
    epoch_batches = list(loader(augment=augment).epoch(5))[start:stop]
    part = list(loader(augment=augment).epoch(5, start, stop))
    assert len(part) == len(epoch_batches)
    for expected, batch in zip(epoch_batches, part, strict=True):
        assert_same(expected[:2], batch[:2])


def test_orders_are_permutations_that_spread():
    orders = torch.stack([loader(100).order(epoch) for epoch in range(200)])
    assert torch.equal(orders.sort(1).values, torch.arange(100).expand(200, 100))
    # each image's mean position is 49.5, its std 2.04
    assert (orders.argsort(1).double().mean(0) - 49.5).abs().max() < 9


@every_augment
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_images_mapped_from_disk_are_never_written_to(augment, mode, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, number_images(50)[0])
    before = hashlib.sha256(path.read_bytes()).digest()
    mapped = np.load(path, mmap_mode=mode)
    for epoch in range(2):
        for batch in loader(augment=augment, images=mapped).epoch(epoch):
            batch.images.zero_()  # a batch is the caller's own
            batch.labels.zero_()
    del mapped
    assert hashlib.sha256(path.read_bytes()).digest() == before


@pytest.mark.parametrize("indices", [[0], []])
def test_fewer_than_two_images_are_refused(indices):
    with pytest.raises(DataError, match="training image"):
        loader(indices=indices)


with set_kind_owner("given"):

    class GivenSampler(SamplerConfig):
        kind: Literal["given"] = "given"
        positions: tuple[int, ...] = ()
        as_type: str = "int64"

        def build(self, training):
            dtype = getattr(torch, self.as_type, None)
            return lambda _: torch.tensor(self.positions, dtype=dtype) if dtype else self.positions


@pytest.mark.parametrize(
    ("positions", "as_type"),
    [
        ((0, 1, 2), "int64"),
        ((0, 1, 2, 3, 3), "int64"),
        ((0, 1, 2, 4), "int64"),
        ((-1, 1, 2, 3), "int64"),
        ((0, 1, 2, 3), "int32"),
        ((0, 1, 1, 0), "bool"),
        ((0, 1, 2, 3), "tuple"),
    ],
)
def test_positions_that_are_none_are_refused_before_the_first_batch(positions, as_type):
    made = loader(4, 2, sampler=GivenSampler(positions=positions, as_type=as_type))
    with pytest.raises(RecipeError) as caught:
        next(made.epoch(0))
    what = "data.sampler gives no 4 positions int64 from 0 to 3"
    assert str(caught.value) == f"{what}\nmend what its build returns"


def test_positions_may_repeat():
    made = loader(4, 2, sampler=GivenSampler(positions=(3, 3, 0, 0)))
    assert join(made.epoch(0))[1].tolist() == [3, 3, 0, 0]


with set_kind_owner("given"):

    class GivenMix(MixConfig):
        kind: Literal["given"] = "given"
        partners: tuple[int, ...] | None = (1, 0)
        as_type: str = "int64"
        lam: float = 0.5
        rows: int = 6
        images: str = "uint8"

        def mix(self, images, seed, epoch, step):
            partners = self.partners and torch.tensor(
                self.partners, dtype=getattr(torch, self.as_type)
            )
            return images[:, : self.rows].to(getattr(torch, self.images)), partners, self.lam


@pytest.mark.parametrize(
    "settings",
    [
        {"partners": (0,)},
        {"partners": (1, 2)},
        {"partners": (-1, 0)},
        {"as_type": "int32"},
        {"lam": 1.5},
        {"lam": -0.1},
        {"rows": 5},
        {"images": "float64"},
    ],
    ids=str,
)
def test_a_mix_that_is_none_is_refused(settings):
    made = loader(4, 2, augment={"mix": {"kind": "given", **settings}})
    with pytest.raises(RecipeError) as caught:
        next(made.epoch(0))
    assert str(caught.value) == (
        "augment.mix.kind=given gives no [2, 6, 5, 3], indices and fraction\n"
        "docs/extend.md says what its mix returns"
    )


@pytest.mark.parametrize("partners", [None, (1, 0), (0, 0)])
def test_a_mix_may_have_partners_or_none(partners):
    made = loader(4, 2, augment={"mix": {"kind": "given", "partners": partners}})
    for batch in made.epoch(0):
        expected = None if partners is None else batch.labels[list(partners)].tolist()
        labels = batch.partner_labels
        assert (None if labels is None else labels.tolist()) == expected
