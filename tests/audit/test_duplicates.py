"""Near-duplicates: copies must be found, other images must not; and against all pairs by loop."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from cifarlab.audit import duplicates
from cifarlab.audit.duplicates import (
    MIN_COSINE,
    MIN_SMALL_COSINE,
    connected_groups,
    find_near_duplicates,
)
from cifarlab.augment.transforms import downsample

CPU, HERE = torch.device("cpu"), Path(__file__).parent


def no_progress(_what: str, _done: int, _total: int | None) -> None: ...


def make_scenes(n: int, side: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random images with colourless detail, as in photographs; none similar to another."""
    draws = np.random.default_rng(seed)
    coarse = gaussian_filter(draws.normal(size=(n, side, side, channels)), (0, 2.5, 2.5, 0))
    fine = gaussian_filter(draws.normal(size=(n, side, side, 1)), (0, 0.9, 0.9, 0))
    return (127 + 30 * coarse / coarse.std() + 20 * fine / fine.std()).clip(0, 255).astype(np.uint8)


def recompress(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def brighten(image: np.ndarray, offset: int) -> np.ndarray:
    return (image.astype(int) + offset).clip(0, 255).astype(np.uint8)


def find_pairs(images: np.ndarray) -> dict[tuple[int, int], float]:
    twins = find_near_duplicates(images, CPU, no_progress)
    pairs = zip(twins.pairs.tolist(), twins.similarity.tolist(), strict=True)
    return {(a, b): value for (a, b), value in pairs}


def test_different_images_are_no_twins() -> None:
    assert find_pairs(make_scenes(300)) == {}


@pytest.mark.parametrize(
    "copy",
    [
        lambda image: image.copy(),
        lambda image: recompress(image, 75),
        lambda image: recompress(image, 60),
        lambda image: brighten(image, 25),
        lambda image: brighten(image, -20),
        lambda image: (0.7 * image + 30).astype(np.uint8),
        lambda image: brighten(recompress(image, 75), 15),
    ],
    ids=["equal", "jpeg 75", "jpeg 60", "brighter", "darker", "less contrast", "jpeg and brighter"],
)
def test_exactly_the_copies_are_twins(copy) -> None:
    images = make_scenes(120)
    all_images = np.concatenate([images, np.stack([copy(image) for image in images[:40]])])
    assert set(find_pairs(all_images)) == {(n, 120 + n) for n in range(40)}


def test_equal_images_have_similarity_one_and_others_less() -> None:
    images = make_scenes(3)
    all_images = np.concatenate([images, images[:1], brighten(images[1:2], 7)])
    pairs = find_pairs(all_images)
    assert pairs[0, 3] == 1.0
    assert 0.999 < pairs[1, 4] < 1.0


def slow_direction(image: np.ndarray) -> np.ndarray:
    """One image's pixels, each channel's mean taken away, as a vector of length 1."""
    channels = [image[..., c] - image[..., c].mean() for c in range(image.shape[2])]
    vector = np.stack(channels).ravel().astype(float)
    return vector / np.linalg.norm(vector)


def test_all_pairs_by_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_ROWS", 16)
    monkeypatch.setattr(duplicates, "_COLUMNS", 32)
    monkeypatch.setattr(duplicates, "_PAIRS_PER_CHUNK", 8)
    images = make_scenes(60, side=16)
    mixed = [(s * a + (1 - s) * b) for s in (0.99, 0.9, 0.8, 0.7) for a, b in
             zip(images[:10].astype(float), images[10:20].astype(float), strict=True)]  # fmt: skip
    images = np.concatenate([images, np.stack(mixed).round().astype(np.uint8)])
    full = [slow_direction(image) for image in images]
    small = [
        slow_direction(downsample(torch.from_numpy(image[None]), 8)[0].numpy()) for image in images
    ]
    slow = {
        (a, b): float(full[a] @ full[b])
        for a in range(len(images))
        for b in range(a + 1, len(images))
        if full[a] @ full[b] >= MIN_COSINE and small[a] @ small[b] >= MIN_SMALL_COSINE
    }
    pairs = find_pairs(images)
    assert len(slow) > 30
    assert set(pairs) == set(slow)
    assert all(pairs[pair] == pytest.approx(value, abs=1e-5) for pair, value in slow.items())


def test_flat_images_are_twins_only_where_equal() -> None:
    flat = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (0, 9, 9, 200, 9)])
    assert find_pairs(flat) == {(1, 2): 1.0, (1, 4): 1.0}


def test_grey_and_small_images() -> None:
    images = make_scenes(50, side=8, channels=1)
    all_images = np.concatenate([images, brighten(images[:5], 10)])
    assert set(find_pairs(all_images)) == {(n, 50 + n) for n in range(5)}


def test_the_most_similar_come_first() -> None:
    images = make_scenes(20)
    copies = np.stack([recompress(image, 60) for image in images])
    twins = find_near_duplicates(np.concatenate([images, copies]), CPU, no_progress)
    assert (np.diff(twins.similarity) <= 0).all() and len(twins.pairs) == 20


def test_chains_of_pairs_are_groups() -> None:
    group = connected_groups(np.array([[0, 3], [3, 4], [1, 2]]), 6)
    assert group[0] == group[3] == group[4]
    assert group[1] == group[2]
    assert len({int(group[n]) for n in (0, 1, 5)}) == 3


def test_no_images_and_no_pairs() -> None:
    assert len(find_near_duplicates(make_scenes(1), CPU, no_progress).pairs) == 0
    assert connected_groups(np.empty((0, 2), np.int64), 2).tolist() == [0, 1]


def make_frames(scene: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """A film (n, H, W, C) in which nothing moves: all of its frames are near-equal."""
    noise = np.random.default_rng(seed).normal(0, 2, (n, *scene.shape))
    return (scene + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("max_pairs", [0, 30, 400])
def test_beyond_the_most_pairs_groups_stay_whole(monkeypatch, max_pairs: int) -> None:
    films = np.concatenate([make_frames(scene, 30, n) for n, scene in enumerate(make_scenes(5))])
    images = np.concatenate([films, make_scenes(40, seed=9), films[:7]])
    images = images[np.random.default_rng(1).permutation(len(images))]
    untruncated = find_near_duplicates(images, CPU, no_progress)
    assert not untruncated.is_truncated and len(untruncated.pairs) == 7 + 5 * 30 * 29 // 2
    monkeypatch.setattr(duplicates, "MAX_PAIRS", max_pairs)
    monkeypatch.setattr(duplicates, "_PAIRS_PER_CHUNK", 16)
    monkeypatch.setattr(duplicates, "_ROWS", 64)
    twins = find_near_duplicates(images, CPU, no_progress)
    assert twins.is_truncated
    assert np.array_equal(
        connected_groups(twins.pairs, len(images)), connected_groups(untruncated.pairs, len(images))
    )
    assert set(map(tuple, twins.pairs)) <= set(map(tuple, untruncated.pairs))
    assert 145 <= len(twins.pairs) < max_pairs + 16 + 7 + len(images)
    assert len(set(map(tuple, twins.pairs))) == len(twins.pairs)


def test_memory_is_bounded_however_many_images_are_similar() -> None:
    """700 near-equal frames are 244,650 pairs, which took 1.5 GiB; the setting is that of runs."""
    code = """
import resource, sys
import numpy as np
from cifarlab.audit.duplicates import find_near_duplicates
from cifarlab.system.device import choose_compute
from test_duplicates import make_frames, make_scenes, no_progress
device, images = choose_compute().device, make_frames(make_scenes(1)[0], 700)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
find_near_duplicates(images[:20], device, no_progress)
before = peak()
find_near_duplicates(images, device, no_progress)
print(peak() - before)
"""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HERE)!r})\n{code}"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < 500  # MiB
