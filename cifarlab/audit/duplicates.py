"""Images that are there twice, or nearly so: equal, compressed anew, made brighter or darker.

Two images are near-duplicates where their pixels, each channel's mean taken away, point in almost
the same direction, at 8 x 8 pixels and at full size: brightness and contrast change no direction,
JPEG turns it a little. Pairs are looked for at 8 x 8, by the block on the device. Shifted, cropped
and mirrored copies are not looked for.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cifarlab.data.transforms import shrunk

# Least cosines, at full size and at 8 x 8, where the codec's noise averages out. On CIFAR-10 (JPEG)
# pairs below them begin to be different pictures of one kind.
SIMILAR, SIMILAR_SMALL = 0.95, 0.975
_SMALL = 8
_ROWS, _COLUMNS = 1024, 8192  # of a block of similarities: 32 MiB
_CHECKED = 2048  # pairs confirmed at a time
_FLAT = 2.0  # grey levels; images of less deviation have no direction, only equal ones are found
Report = Callable[[str, int, int | None], None]


class Twins(NamedTuple):
    """``pairs`` int64 (P, 2), the smaller place first; ``similarity`` float64 (P,), 1 where equal.

    Of several equal images each is paired with the first of them, and that one alone with others.
    """

    pairs: np.ndarray
    similarity: np.ndarray


def near_duplicates(images: np.ndarray, device: torch.device, report: Report) -> Twins:
    """All pairs of near-duplicates among uint8 images (N, H, W, C), most similar first."""
    firsts, equal = _equal(images)
    different = images[firsts]
    small = _directions(different, device, _SMALL)
    found = []
    for candidates in _candidates(small, report):
        similarity = _confirmed(different, candidates, device)
        near = similarity >= SIMILAR
        found.append((firsts[candidates[near]], similarity[near]))
    pairs = np.concatenate([equal, *(pairs for pairs, _ in found)])
    similarity = np.concatenate([np.ones(len(equal)), *(values for _, values in found)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -similarity))
    return Twins(pairs[order], similarity[order])


def _equal(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the first of each kind of equal images, and the pairs of it with the others."""
    seen: dict[bytes, int] = {}
    firsts, pairs = [], []
    for place, image in enumerate(images):
        first = seen.setdefault(image.tobytes(), place)
        if first == place:
            firsts.append(place)
        else:
            pairs.append((first, place))
    return np.array(firsts, dtype=np.int64), np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _directions(images: np.ndarray, device: torch.device, pixels: int | None = None) -> Tensor:
    """Vectors float32 (N, D) of length 1, of the images at that size; of flat images, zeros."""
    parts = []
    for start in range(0, len(images), _CHECKED):
        batch = torch.from_numpy(images[start : start + _CHECKED]).to(device)
        values = (shrunk(batch, pixels) if pixels else batch).to(torch.float32)
        vectors = (values - values.mean((1, 2), keepdim=True)).flatten(1)
        length = vectors.norm(dim=1, keepdim=True)
        contrast = length / vectors.shape[1] ** 0.5
        parts.append(torch.where(contrast >= _FLAT, vectors / length.clamp(min=1e-9), 0.0))
    return torch.cat(parts)


def _candidates(small: Tensor, report: Report) -> Iterator[np.ndarray]:
    """Pairs of places int64 (P, 2) that are alike at small size, block by block."""
    count = len(small)
    for top in range(0, count, _ROWS):
        report("looking for near-duplicates", top, count)
        rows = small[top : top + _ROWS]
        for left in range(top, count, _COLUMNS):
            alike = rows @ small[left : left + _COLUMNS].T >= SIMILAR_SMALL
            places = alike.nonzero() + torch.tensor([top, left], device=small.device)
            places = places[places[:, 0] < places[:, 1]]
            yield places.cpu().numpy()
    report("looking for near-duplicates", count, count)


def _confirmed(images: np.ndarray, pairs: np.ndarray, device: torch.device) -> np.ndarray:
    """The cosine at full size (P,), float64, below 1: these images are not equal."""
    values = [np.empty(0)]
    for start in range(0, len(pairs), _CHECKED):
        part = pairs[start : start + _CHECKED]
        ours, theirs = (_directions(images[part[:, side]], device) for side in (0, 1))
        values.append((ours * theirs).sum(1).double().cpu().numpy())
    return np.minimum(np.concatenate(values), 1 - 1e-9)


def groups(pairs: np.ndarray, count: int) -> np.ndarray:
    """The group of each of ``count`` images (N,): those that a chain of pairs links share one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1]
