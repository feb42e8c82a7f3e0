"""An audit's findings as plain values for ``findings.json``."""

from typing import Any, NamedTuple

import numpy as np

from cifarlab.audit.duplicates import MOST_PAIRS, Twins, connected_groups
from cifarlab.audit.labels import evaluate_ranking, rank_labels
from cifarlab.data.dataset import Dataset, ImageNames
from cifarlab.metrics.calibration import scaled_softmax

KEPT = 1000  # pairs and suspects that findings.json has; all are in the tables of --csv
SHOWN = 25  # of each, kept as images


_CUT = (
    f"There are more than {MOST_PAIRS:,} near-equal pairs: beyond these only pairs that join "
    "groups were taken. The groups are whole, the number of pairs is not."
)


class AuditSplit(NamedTuple):
    """A split's images uint8 (N, H, W, C) and labels (N,), of which ``indices`` (n,) are meant."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    names: ImageNames = ImageNames()


def duplicate_findings(twins: Twins, splits: list[AuditSplit]) -> dict[str, Any]:
    """``images`` by split; ``groups``, ``equal`` and ``near`` pairs; ``twins``; ``conflicts``.

    Pairs count positions in the concatenated splits. ``twins`` has for each two splits how many
    images of the first have a twin in the second; ``conflicts`` is how many groups bear several
    labels; ``pairs`` are all, those across splits before others: per row ``a`` and ``b``
    (``split``, ``index`` in its source split, ``name``, class number ``given_label``) and
    ``similarity``; ``notes`` are to be read.
    """
    split_of_image = np.repeat(np.arange(len(splits)), [len(split.indices) for split in splits])
    labels = np.concatenate([split.labels[split.indices] for split in splits])
    index_of_image = np.concatenate([split.indices for split in splits])
    group = connected_groups(twins.pairs, len(split_of_image))
    order = np.argsort(
        split_of_image[twins.pairs[:, 0]] == split_of_image[twins.pairs[:, 1]], kind="stable"
    )

    def describe(position: int) -> dict[str, Any]:
        split, index = splits[split_of_image[position]], int(index_of_image[position])
        given_label = int(labels[position])
        return {
            "split": split.name,
            "index": index,
            "name": split.names[index],
            "given_label": given_label,
        }

    return {
        "images": {split.name: len(split.indices) for split in splits},
        "groups": int((np.bincount(group) > 1).sum()),
        "equal": int((twins.similarity == 1).sum()),
        "near": int((twins.similarity < 1).sum()),
        "twins": _count_twins(group, split_of_image, splits),
        "conflicts": _count_conflicts(group, labels),
        "pairs": [
            {"a": describe(a), "b": describe(b), "similarity": float(value)}
            for (a, b), value in zip(twins.pairs[order], twins.similarity[order], strict=True)
        ],
        "notes": [_CUT] * twins.cut,
    }


def _count_twins(
    group: np.ndarray, split_of_image: np.ndarray, splits: list[AuditSplit]
) -> list[dict[str, Any]]:
    """Count for each two splits how many images of the first have a twin in the second."""
    members = np.zeros((group.max(initial=0) + 1, len(splits)), dtype=np.int64)
    np.add.at(members, (group, split_of_image), 1)
    rows = []
    for ours, split in enumerate(splits):
        for theirs, other in enumerate(splits):
            minimum = 1 if ours != theirs else 2
            with_twin = members[members[:, theirs] >= minimum, ours].sum()
            rows.append({"of": split.name, "in": other.name, "images": int(with_twin)})
    return rows


def _count_conflicts(group: np.ndarray, labels: np.ndarray) -> int:
    kinds = np.unique(np.stack([group, labels], 1), axis=0)[:, 0]
    return int((np.bincount(kinds) > 1).sum()) if len(kinds) else 0


def pairs_to_show(findings: dict[str, Any], splits: list[AuditSplit]) -> np.ndarray:
    """Return positions int64 (P, 2), in the concatenated splits, of the pairs kept as images."""
    starts = np.cumsum([0, *(len(split.indices) for split in splits)])
    by_name = {split.name: (start, split) for start, split in zip(starts, splits, strict=False)}

    def position(image: dict[str, Any]) -> int:
        start, split = by_name[image["split"]]
        return int(start + np.searchsorted(split.indices, image["index"]))

    kept_pairs = [(position(pair["a"]), position(pair["b"])) for pair in findings["pairs"][:SHOWN]]
    return np.array(kept_pairs, dtype=np.int64).reshape(-1, 2)


def truncate_findings(findings: dict[str, Any]) -> dict[str, Any]:
    """Return the findings with the first ``KEPT`` pairs and suspects alone."""
    copies, labels = findings["duplicates"], findings["labels"]
    return {
        "duplicates": {**copies, "pairs": copies["pairs"][:KEPT]},
        "labels": labels and {**labels, "suspects": labels["suspects"][:KEPT]},
    }


def label_findings(
    logits: np.ndarray, training: AuditSplit, dataset: Dataset, folds: int, n_scattered: int
) -> dict[str, Any]:
    """``n``, ``folds``, ``agreement``, ``commonest``, ``estimated``, ``noise``, ``suspects``.

    ``agreement`` is the fraction of the labels that the network says too, ``commonest`` that of the
    largest class, ``noise`` that of ``evaluate_ranking`` where the recipe has injected wrong
    labels. ``suspects`` are all images, the most suspicious first: ``index`` (in the source's
    training split), ``name``, ``given_label``, ``predicted_label`` and ``true_label`` (class
    numbers; the last as the source has it), ``label_quality`` and ``probability`` of the predicted
    label. ``notes`` are to be read; ``n_scattered`` is that of ``fold_groups``.
    """
    given_labels = training.labels[training.indices]
    probs = scaled_softmax(logits[training.indices])
    ranking = rank_labels(given_labels, probs)
    true_labels = dataset.read("train").labels[training.indices]
    suspects = [
        {
            "index": int(training.indices[row]),
            "name": training.names[training.indices[row]],
            "given_label": int(given_labels[row]),
            "predicted_label": int(probs[row].argmax()),
            "true_label": int(true_labels[row]),
            "label_quality": float(ranking.quality[row]),
            "probability": float(probs[row].max()),
        }
        for row in ranking.order
    ]
    agreement = float((probs.argmax(1) == given_labels).mean())
    commonest = float(np.bincount(given_labels).max() / len(given_labels))
    return {
        "n": len(given_labels),
        "folds": folds,
        "agreement": agreement,
        "commonest": commonest,
        "estimated": ranking.estimated,
        "noise": evaluate_ranking(ranking.order, given_labels != true_labels),
        "suspects": suspects,
        "notes": _label_notes(agreement, commonest, n_scattered),
    }


def _label_notes(agreement: float, commonest: float, n_scattered: int) -> list[str]:
    """Return what a reader of the suspects must know.

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
    if n_scattered:
        notes.append(
            f"{n_scattered:,} near-duplicates are in groups too large for one fold. They were "
            "dealt out one by one, so a wrong label among them may be vouched for by its twins."
        )
    return notes
