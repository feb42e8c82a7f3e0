"""Images that are there twice, or nearly so: equal, compressed anew, made brighter or darker.

Two images are near-duplicates where their pixels, each channel's mean taken away, point in almost
the same direction, at 8 x 8 pixels and at full size: brightness and contrast change no direction,
JPEG turns it a little. Pairs are looked for at 8 x 8, by the block on the device. Shifted, cropped
and mirrored copies are not looked for.
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

# Least cosines, at full size and at 8 x 8, where the codec's noise averages out. On CIFAR-10 (JPEG)
# pairs below them begin to be different pictures of one kind.
SIMILAR, SIMILAR_SMALL = 0.95, 0.975
_SMALL = 8
MOST_PAIRS = 100_000  # of a film's n frames n^2 / 2 are alike: beyond, only pairs that join groups
_ROWS, _COLUMNS = 1024, 1024  # of a block of similarities
_PAIRS_PER_CHUNK = 2048  # pairs confirmed at a time: 25 MiB at 32 x 32 pixels
_MIN_STD = 2.0  # grey levels; flatter images have no direction, only equal ones are found


class Twins(NamedTuple):
    """``pairs`` int64 (P, 2), the smaller index first; ``similarity`` float64 (P,), 1 where equal.

    Of several equal images each is paired with the first of them, and that one alone with others.
    ``cut``: there were more than MOST_PAIRS; from then on no pair was taken whose images were in
    one group already. So groups are whole, and their number is exact.
    """

    pairs: np.ndarray
    similarity: np.ndarray
    cut: bool = False


def find_near_duplicates(
    images: np.ndarray, device: torch.device, progress: Progress | None
) -> Twins:
    """Find the pairs of near-duplicates among uint8 images (N, H, W, C), most similar first.

    Memory is bounded by N and MOST_PAIRS, however many images are alike.
    """
    firsts, equal = _find_equal(images)
    # They grow in place: small arrays kept between the large temporary ones of the steps would keep
    # the memory of those from being used again.
    matches, similarity = array("q", equal.tobytes()), array("d", [1.0] * len(equal))
    limit, cut, group = len(equal) + MOST_PAIRS, False, np.arange(0)
    for candidates in _candidate_pairs(_small_directions(images, firsts, device), progress):
        pairs, full = firsts[candidates], len(similarity) >= limit
        if full:
            if not len(group):
                group = connected_groups(_as_pairs(matches), len(images))
            apart = group[pairs[:, 0]] != group[pairs[:, 1]]
            cut, pairs = cut or not apart.all(), pairs[apart]
        if not len(pairs):
            continue
        values = _full_size_similarity(images, pairs, device)
        near = np.flatnonzero(values >= SIMILAR)
        if full:  # one pair for each two groups
            near = near[np.unique(np.sort(group[pairs[near]]), axis=0, return_index=True)[1]]
            group = np.arange(0) if len(near) else group
        matches.frombytes(pairs[near].tobytes())
        similarity.frombytes(values[near].tobytes())
    pairs, values = _as_pairs(matches), np.array(similarity)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -values))
    return Twins(pairs[order], values[order], cut)


def _as_pairs(numbers: "array[int]") -> np.ndarray:
    return np.array(numbers, dtype=np.int64).reshape(-1, 2)


def _find_equal(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the first of each kind of equal images, and its pairs with the others."""
    digests = np.array([hashlib.sha256(image.tobytes()).hexdigest().encode() for image in images])
    _, firsts, kinds = np.unique(digests, return_index=True, return_inverse=True)
    others = np.flatnonzero(firsts[kinds] != np.arange(len(images)))
    return np.sort(firsts), np.stack([firsts[kinds][others], others], axis=1)


def _directions(images: np.ndarray, device: torch.device, pixels: int | None = None) -> Tensor:
    """Return vectors float32 (N, D) of length 1, of images at that size; zeros of flat images."""
    batch = torch.from_numpy(images).to(device)
    values = (downsample(batch, pixels) if pixels else batch).to(torch.float32)
    vectors = (values - values.mean((1, 2), keepdim=True)).flatten(1)
    length = vectors.norm(dim=1, keepdim=True)
    contrast = length / vectors.shape[1] ** 0.5
    return torch.where(contrast >= _MIN_STD, vectors / length.clamp(min=1e-9), 0.0)


def _small_directions(images: np.ndarray, indices: np.ndarray, device: torch.device) -> Tensor:
    """Return ``_directions`` at small size of the images at ``indices`` (n,)."""
    chunks = [indices[n : n + _PAIRS_PER_CHUNK] for n in range(0, len(indices), _PAIRS_PER_CHUNK)]
    return torch.cat([_directions(images[chunk], device, _SMALL) for chunk in chunks])


def _candidate_pairs(small: Tensor, progress: Progress | None) -> Iterator[np.ndarray]:
    """Yield pairs of indices int64 (P, 2) alike at small size, ``_PAIRS_PER_CHUNK`` at a time."""
    count = len(small)
    for top in range(0, count, _ROWS):
        if progress:
            progress("looking for near-duplicates", top, count)
        rows = small[top : top + _ROWS]
        for left in range(top, count, _COLUMNS):
            alike = rows @ small[left : left + _COLUMNS].T >= SIMILAR_SMALL
            indices = alike.nonzero() + torch.tensor([top, left], device=small.device)
            for chunk in indices[indices[:, 0] < indices[:, 1]].cpu().split(_PAIRS_PER_CHUNK):
                yield chunk.numpy()
    if progress:
        progress("looking for near-duplicates", count, count)


def _full_size_similarity(
    images: np.ndarray, pairs: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return the cosine at full size (P,), float64, below 1: these images are not equal."""
    first, second = (_directions(images[pairs[:, side]], device) for side in (0, 1))
    return (first * second).sum(1).double().clamp(max=1 - 1e-9).cpu().numpy()


def connected_groups(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return the group of each of ``count`` images (N,): a chain of pairs links those of one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1]
