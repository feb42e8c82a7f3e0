"""Images that are in the data twice: equal, compressed again, made brighter or darker.

The direction of an image is the unit vector of its pixels minus each channel's mean. Two images are
near-duplicates where their directions have a cosine near 1, at 8 x 8 pixels and at full size:
brightness and contrast do not change the direction, JPEG changes it little. Pairs are searched at
8 x 8, block by block on the device. Shifted, cropped and mirrored copies are not found.
"""

import hashlib
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cifarlab.augment.transforms import downsample
from cifarlab.data.dataset import Progress

# Least cosines, at full size and at 8 x 8, where a codec's noise averages out. Chosen on
# CIFAR-10 by eye: docs/evaluation.md has the counts.
MIN_COSINE, MIN_SMALL_COSINE = 0.95, 0.975
_SMALL_SIDE = 8
# the n frames of a film have n^2 / 2 similar pairs: beyond this only pairs that join groups
MAX_PAIRS = 100_000
_ROWS, _COLUMNS = 1024, 1024  # of a block of similarities
_PAIRS_PER_CHUNK = 2048  # pairs confirmed at a time: 25 MiB at 32 x 32 pixels
_MIN_STD = 2.0  # grey levels; flatter images have no direction, of these only equal ones are found


class Twins(NamedTuple):
    """``pairs`` int64 (P, 2), the smaller index first; ``similarity`` float64 (P,), 1 where equal.

    Of several equal images each is paired with the first of them, and only that first one with
    other images. ``is_truncated``: there were more than MAX_PAIRS, and after these no pair was
    taken whose images were in one group already. So the groups, and their number, are complete.
    """

    pairs: np.ndarray
    similarity: np.ndarray
    is_truncated: bool = False


def find_near_duplicates(
    images: np.ndarray, device: torch.device, progress: Progress | None
) -> Twins:
    """Find the pairs of near-duplicates, most similar first.

    Memory is bounded by N and MAX_PAIRS, however many images are similar.

    Args:
        images: uint8 (N, H, W, C)
        device: where they are compared
        progress: called with how many images have been compared with all
    """
    firsts, equal = _find_equal(images)
    # They grow in place: small arrays allocated between the large temporary ones of the steps would
    # keep the memory of these from being used again.
    matches, similarity = array("q", equal.tobytes()), array("d", [1.0] * len(equal))
    limit, is_truncated, group = len(equal) + MAX_PAIRS, False, np.arange(0)
    for candidates in _candidate_pairs(_small_directions(images, firsts, device), progress):
        pairs, is_full = firsts[candidates], len(similarity) >= limit
        if is_full:
            if not len(group):
                group = connected_groups(_as_pairs(matches), len(images))
            joins = group[pairs[:, 0]] != group[pairs[:, 1]]
            is_truncated, pairs = is_truncated or not joins.all(), pairs[joins]
        if not len(pairs):
            continue
        values = _full_size_similarity(images, pairs, device)
        rows = np.flatnonzero(values >= MIN_COSINE)
        if is_full:  # one pair for each two groups
            rows = rows[np.unique(np.sort(group[pairs[rows]]), axis=0, return_index=True)[1]]
            group = np.arange(0) if len(rows) else group
        matches.frombytes(pairs[rows].tobytes())
        similarity.frombytes(values[rows].tobytes())
    pairs, values = _as_pairs(matches), np.array(similarity)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -values))
    return Twins(pairs[order], values[order], is_truncated)


def _as_pairs(numbers: "array[int]") -> np.ndarray:
    return np.array(numbers, dtype=np.int64).reshape(-1, 2)


def _find_equal(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first index of each kind of equal images, and its pairs with the others."""
    digests = np.array([hashlib.sha256(image.tobytes()).hexdigest().encode() for image in images])
    _, firsts, kinds = np.unique(digests, return_index=True, return_inverse=True)
    others = np.flatnonzero(firsts[kinds] != np.arange(len(images)))
    return np.sort(firsts), np.stack([firsts[kinds][others], others], axis=1)


def _directions(images: np.ndarray, device: torch.device, pixels: int | None = None) -> Tensor:
    """Return the directions float32 (N, D) of images at that size; zeros for flat images."""
    batch = torch.from_numpy(images).to(device)
    values = (downsample(batch, pixels) if pixels else batch).to(torch.float32)
    vectors = (values - values.mean((1, 2), keepdim=True)).flatten(1)
    length = vectors.norm(dim=1, keepdim=True)
    contrast = length / vectors.shape[1] ** 0.5
    return torch.where(contrast >= _MIN_STD, vectors / length.clamp(min=1e-9), 0.0)


def _small_directions(images: np.ndarray, indices: np.ndarray, device: torch.device) -> Tensor:
    """Return ``_directions`` at small size of the images at ``indices`` (n,)."""
    chunks = [indices[n : n + _PAIRS_PER_CHUNK] for n in range(0, len(indices), _PAIRS_PER_CHUNK)]
    return torch.cat([_directions(images[chunk], device, _SMALL_SIDE) for chunk in chunks])


def _candidate_pairs(directions: Tensor, progress: Progress | None) -> Iterator[np.ndarray]:
    """Yield pairs of indices int64 (P, 2) with a cosine near 1, ``_PAIRS_PER_CHUNK`` at a time."""
    count = len(directions)
    for top in range(0, count, _ROWS):
        if progress:
            progress("looking for near-duplicates", top, count)
        rows = directions[top : top + _ROWS]
        for left in range(top, count, _COLUMNS):
            mask = rows @ directions[left : left + _COLUMNS].T >= MIN_SMALL_COSINE
            indices = mask.nonzero() + torch.tensor([top, left], device=directions.device)
            for chunk in indices[indices[:, 0] < indices[:, 1]].cpu().split(_PAIRS_PER_CHUNK):
                yield chunk.numpy()
    if progress:
        progress("looking for near-duplicates", count, count)


def _full_size_similarity(
    images: np.ndarray, pairs: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return the cosines at full size (P,), float64, below 1, since these images are not equal."""
    first, second = (_directions(images[pairs[:, side]], device) for side in (0, 1))
    return (first * second).sum(1).cpu().double().clamp(max=1 - 1e-9).numpy()


def connected_groups(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return the group of each of ``count`` images (N,); chains of pairs connect a group."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1]
