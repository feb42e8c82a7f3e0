"""An audit's findings as plain values for ``findings.json``."""

from typing import Any, NamedTuple

import numpy as np

from cifarlab.audit.duplicates import Twins, groups
from cifarlab.audit.labels import against_known, ranked
from cifarlab.data import Dataset
from cifarlab.evaluate.calibration import probabilities

KEPT = 1000  # pairs and suspects that are written down
SHOWN = 25  # of each, kept as images


class Part(NamedTuple):
    """A split's images uint8 (N, H, W, C) and labels (N,), of which ``indices`` (n,) are meant."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def duplicate_findings(twins: Twins, parts: list[Part]) -> dict[str, Any]:
    """``images`` by split; ``groups``, ``equal`` and ``near`` pairs; ``twins``; ``conflicts``.

    Pairs count places in the concatenated parts. ``twins`` has for each two splits how many images
    of the first have a twin in the second; ``conflicts`` is how many groups bear several labels;
    ``pairs`` are the first of all, those across splits before others: per row ``a`` and ``b``
    (split, index in its source split, class number) and ``similarity``.
    """
    names = np.repeat(np.arange(len(parts)), [len(part.indices) for part in parts])
    labels = np.concatenate([part.labels[part.indices] for part in parts])
    places = np.concatenate([part.indices for part in parts])
    group = groups(twins.pairs, len(names))
    order = np.argsort(names[twins.pairs[:, 0]] == names[twins.pairs[:, 1]], kind="stable")[:KEPT]

    def told(place: int) -> list[Any]:
        return [parts[names[place]].name, int(places[place]), int(labels[place])]

    return {
        "images": {part.name: len(part.indices) for part in parts},
        "groups": int((np.bincount(group) > 1).sum()),
        "equal": int((twins.similarity == 1).sum()),
        "near": int((twins.similarity < 1).sum()),
        "twins": _across(group, names, parts),
        "conflicts": _conflicts(group, labels),
        "pairs": [
            {"a": told(a), "b": told(b), "similarity": float(value)}
            for (a, b), value in zip(twins.pairs[order], twins.similarity[order], strict=True)
        ],
    }


def _across(group: np.ndarray, names: np.ndarray, parts: list[Part]) -> list[dict[str, Any]]:
    """For each two splits, how many images of the first have a twin in the second."""
    members = np.zeros((group.max(initial=0) + 1, len(parts)), dtype=np.int64)
    np.add.at(members, (group, names), 1)
    rows = []
    for ours, part in enumerate(parts):
        for theirs, other in enumerate(parts):
            least = 1 if ours != theirs else 2
            with_twin = members[members[:, theirs] >= least, ours].sum()
            rows.append({"of": part.name, "in": other.name, "images": int(with_twin)})
    return rows


def _conflicts(group: np.ndarray, labels: np.ndarray) -> int:
    kinds = np.unique(np.stack([group, labels], 1), axis=0)[:, 0]
    return int((np.bincount(kinds) > 1).sum()) if len(kinds) else 0


def shown_pairs(found: dict[str, Any], parts: list[Part]) -> np.ndarray:
    """Places int64 (P, 2), in the concatenated parts, of the pairs that are kept as images."""
    starts = np.cumsum([0, *(len(part.indices) for part in parts)])
    by_name = {part.name: (start, part) for start, part in zip(starts, parts, strict=False)}

    def place(told: list[Any]) -> int:
        start, part = by_name[told[0]]
        return int(start + np.searchsorted(part.indices, told[1]))

    chosen = [(place(pair["a"]), place(pair["b"])) for pair in found["pairs"][:SHOWN]]
    return np.array(chosen, dtype=np.int64).reshape(-1, 2)


def label_findings(
    logits: np.ndarray, training: Part, dataset: Dataset, folds: int
) -> dict[str, Any]:
    """``n``, ``folds``, ``agreement``, ``estimated``, ``noise`` and the first ``suspects``.

    ``agreement`` is the share of the labels that the network says too, ``noise`` is that of
    ``against_known`` where the recipe has injected wrong labels. Per suspect ``index`` (in the
    source's training split), ``given``, ``suggested`` and ``true`` (class numbers; ``true`` as the
    source has it), ``quality`` and ``probability`` of the suggestion.
    """
    given = training.labels[training.indices]
    shares = probabilities(logits[training.indices])
    told = ranked(given, shares)
    true = dataset.read("train").labels[training.indices]
    suspects = [
        {
            "index": int(training.indices[row]),
            "given": int(given[row]),
            "suggested": int(shares[row].argmax()),
            "true": int(true[row]),
            "quality": float(told.quality[row]),
            "probability": float(shares[row].max()),
        }
        for row in told.order[:KEPT]
    ]
    return {
        "n": len(given),
        "folds": folds,
        "agreement": float((shares.argmax(1) == given).mean()),
        "estimated": told.estimated,
        "noise": against_known(told.order, given != true),
        "suspects": suspects,
    }
