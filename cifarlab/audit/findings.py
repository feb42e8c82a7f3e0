"""An audit's findings as plain values for ``findings.json``."""

from typing import Any, NamedTuple

import numpy as np

from cifarlab.audit.duplicates import MOST_PAIRS, Twins, groups
from cifarlab.audit.labels import against_known, ranked
from cifarlab.data.dataset import Dataset, ImageNames
from cifarlab.inference.predictor import scaled_softmax

KEPT = 1000  # pairs and suspects that findings.json has; all are in the tables of --csv
SHOWN = 25  # of each, kept as images


_CUT = (
    f"There are more than {MOST_PAIRS:,} near-equal pairs: beyond these only pairs that join "
    "groups were taken. The groups are whole, the number of pairs is not."
)


class Part(NamedTuple):
    """A split's images uint8 (N, H, W, C) and labels (N,), of which ``indices`` (n,) are meant."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    names: ImageNames = ImageNames()


def duplicate_findings(twins: Twins, parts: list[Part]) -> dict[str, Any]:
    """``images`` by split; ``groups``, ``equal`` and ``near`` pairs; ``twins``; ``conflicts``.

    Pairs count places in the concatenated parts. ``twins`` has for each two splits how many images
    of the first have a twin in the second; ``conflicts`` is how many groups bear several labels;
    ``pairs`` are all, those across splits before others: per row ``a`` and ``b`` (``split``,
    ``index`` in its source split, ``name``, class number ``given``) and ``similarity``; ``notes``
    are to be read.
    """
    names = np.repeat(np.arange(len(parts)), [len(part.indices) for part in parts])
    labels = np.concatenate([part.labels[part.indices] for part in parts])
    places = np.concatenate([part.indices for part in parts])
    group = groups(twins.pairs, len(names))
    order = np.argsort(names[twins.pairs[:, 0]] == names[twins.pairs[:, 1]], kind="stable")

    def image(place: int) -> dict[str, Any]:
        part, index = parts[names[place]], int(places[place])
        given = int(labels[place])
        return {"split": part.name, "index": index, "name": part.names[index], "given": given}

    return {
        "images": {part.name: len(part.indices) for part in parts},
        "groups": int((np.bincount(group) > 1).sum()),
        "equal": int((twins.similarity == 1).sum()),
        "near": int((twins.similarity < 1).sum()),
        "twins": _across(group, names, parts),
        "conflicts": _conflicts(group, labels),
        "pairs": [
            {"a": image(a), "b": image(b), "similarity": float(value)}
            for (a, b), value in zip(twins.pairs[order], twins.similarity[order], strict=True)
        ],
        "notes": [_CUT] * twins.cut,
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

    def place(image: dict[str, Any]) -> int:
        start, part = by_name[image["split"]]
        return int(start + np.searchsorted(part.indices, image["index"]))

    chosen = [(place(pair["a"]), place(pair["b"])) for pair in found["pairs"][:SHOWN]]
    return np.array(chosen, dtype=np.int64).reshape(-1, 2)


def shortened(found: dict[str, Any]) -> dict[str, Any]:
    """Return the findings with the first ``KEPT`` pairs and suspects alone."""
    copies, labels = found["duplicates"], found["labels"]
    return {
        "duplicates": {**copies, "pairs": copies["pairs"][:KEPT]},
        "labels": labels and {**labels, "suspects": labels["suspects"][:KEPT]},
    }


def label_findings(
    logits: np.ndarray, training: Part, dataset: Dataset, folds: int, parted: int
) -> dict[str, Any]:
    """``n``, ``folds``, ``agreement``, ``commonest``, ``estimated``, ``noise``, ``suspects``.

    ``agreement`` is the share of the labels that the network says too, ``commonest`` that of the
    largest class, ``noise`` that of ``against_known`` where the recipe has injected wrong labels.
    ``suspects`` are all images, the most suspicious first: ``index`` (in the source's training
    split), ``name``, ``given``, ``suggested`` and ``true`` (class numbers; ``true`` as the source
    has it), ``quality`` and ``probability`` of the suggestion. ``notes`` are to be read; ``parted``
    is that of ``whole_groups``.
    """
    given = training.labels[training.indices]
    shares = scaled_softmax(logits[training.indices])
    told = ranked(given, shares)
    true = dataset.read("train").labels[training.indices]
    suspects = [
        {
            "index": int(training.indices[row]),
            "name": training.names[training.indices[row]],
            "given": int(given[row]),
            "suggested": int(shares[row].argmax()),
            "true": int(true[row]),
            "quality": float(told.quality[row]),
            "probability": float(shares[row].max()),
        }
        for row in told.order
    ]
    agreement = float((shares.argmax(1) == given).mean())
    commonest = float(np.bincount(given).max() / len(given))
    return {
        "n": len(given),
        "folds": folds,
        "agreement": agreement,
        "commonest": commonest,
        "estimated": told.estimated,
        "noise": against_known(told.order, given != true),
        "suspects": suspects,
        "notes": _label_notes(agreement, commonest, parted),
    }


def _label_notes(agreement: float, commonest: float, parted: int) -> list[str]:
    """What a reader of the suspects must know.

    Networks are too weak to judge where they disagree with the labels more than half as often as
    somebody who always names the commonest class.
    """
    notes = []
    if 1 - agreement > (1 - commonest) / 2:
        notes.append(
            f"The networks agree with {100 * agreement:.1f} % of the labels, the name of the "
            f"commonest class alone with {100 * commonest:.1f} %: they are too weak to judge, and "
            "most suspects are their own mistakes. Train longer, or take a stronger recipe."
        )
    if parted:
        notes.append(
            f"{parted:,} near-duplicates are in groups too large for one fold. They were dealt out "
            "one by one, so a wrong label among them may be vouched for by its twins."
        )
    return notes
