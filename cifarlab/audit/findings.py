"""An audit's findings as plain values for ``findings.json``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cifarlab.audit.duplicates import MAX_PAIRS, Twins, connected_groups
from cifarlab.audit.labels import evaluate_ranking, rank_labels
from cifarlab.data.dataset import Dataset, Subset
from cifarlab.metrics.calibration import scaled_softmax

MAX_IMAGES = 25  # pairs and suspects that are stored as images
_TRUNCATION_NOTE = (
    f"There are more than {MAX_PAIRS:,} near-equal pairs: beyond these only pairs that join "
    "groups were taken. The groups are whole, the number of pairs is not."
)


def duplicate_findings(
    twins: Twins, splits: Mapping[str, Subset]
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the findings, and the pairs int64 (P, 2) to be stored as images.

    Pairs are positions in the concatenated splits.

    Returns:
        ``images`` by split; numbers of ``groups``, ``n_equal`` and ``n_near`` pairs; ``twins``: how
        many images of ``split`` have a twin in ``twin_split``; ``conflicts``: how many groups have
        several labels; ``pairs``: all, those across splits first, per row ``a`` and ``b``
        (``split``, ``index`` in its source split, ``name``, class number ``given_label``) and
        ``similarity``; ``notes`` for the user.
    """
    names, sizes = list(splits), {name: len(split) for name, split in splits.items()}
    split_of_image = np.repeat(np.arange(len(splits)), list(sizes.values()))
    labels = np.concatenate([split.labels[split.indices] for split in splits.values()])
    indices = np.concatenate([split.indices for split in splits.values()])
    group = connected_groups(twins.pairs, len(indices))
    members = np.zeros((group.max() + 1, len(splits)), dtype=np.int64)
    np.add.at(members, (group, split_of_image), 1)
    labels_of_group = np.bincount(np.unique(np.stack([group, labels], 1), axis=0)[:, 0])
    order = np.argsort(np.equal(*split_of_image[twins.pairs].T), kind="stable")
    pairs = twins.pairs[order]

    def describe(position: int) -> dict[str, Any]:
        split, index = names[split_of_image[position]], int(indices[position])
        label, name = int(labels[position]), splits[split].names[index]
        return {"split": split, "index": index, "name": name, "given_label": label}

    findings = {
        "images": sizes,
        "groups": int((members.sum(1) > 1).sum()),
        "n_equal": int((twins.similarity == 1).sum()),
        "n_near": int((twins.similarity < 1).sum()),
        "twins": [  # within a split an image has a twin where the group has two of that split
            {"split": a, "twin_split": b, "images": int(members[members[:, n] > (k == n), k].sum())}
            for k, a in enumerate(names)
            for n, b in enumerate(names)
        ],
        "conflicts": int((labels_of_group > 1).sum()),
        "pairs": [
            {"a": describe(a), "b": describe(b), "similarity": float(value)}
            for (a, b), value in zip(pairs, twins.similarity[order], strict=True)
        ],
        "notes": [_TRUNCATION_NOTE] * twins.is_truncated,
    }
    return findings, pairs[:MAX_IMAGES]


def label_findings(
    logits: np.ndarray, training: Subset, dataset: Dataset, folds: int, n_scattered: int
) -> dict[str, Any]:
    """Return what networks say of the labels of images that they were not trained on.

    Args:
        logits: out-of-fold logits float32 (N, K) of the source's training split
        training: the training images, with the labels that they were trained on
        dataset: the source, with its labels
        folds: how many networks there are
        n_scattered: as ``fold_groups`` returns it

    Returns:
        ``n``, ``folds``, ``agreement`` (the fraction of labels that are predicted too),
        ``majority_fraction`` (that of the largest class), ``n_label_issues`` (how many labels are
        estimated to be wrong), ``noise`` (see ``evaluate_ranking``; None without label noise in the
        recipe), ``suspects`` and ``notes`` for the user. ``suspects`` are all images, the most
        suspicious first: ``index`` in the source's training split, ``name``, ``given_label``,
        ``predicted_label`` and ``true_label`` (class numbers; the last is the source's),
        ``label_quality``, and ``probability`` of the predicted label.
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
    majority_fraction = float(np.bincount(given_labels).max() / len(given_labels))
    return {
        "n": len(given_labels),
        "folds": folds,
        "agreement": agreement,
        "majority_fraction": majority_fraction,
        "n_label_issues": ranking.n_label_issues,
        "noise": evaluate_ranking(ranking.order, given_labels != true_labels),
        "suspects": suspects,
        "notes": _label_notes(agreement, majority_fraction, n_scattered),
    }


def _label_notes(agreement: float, majority: float, n_scattered: int) -> list[str]:
    """Return warnings about the suspects.

    Networks are too weak to judge where they disagree with the labels more than half as often as a
    constant prediction of the largest class does.
    """
    notes = []
    if 1 - agreement > (1 - majority) / 2:
        notes.append(
            f"The networks agree with {100 * agreement:.1f} % of the labels, the name of the "
            f"commonest class alone with {100 * majority:.1f} %: they are too weak to judge, and "
            "most suspects are their own mistakes. Train longer, or take a stronger recipe."
        )
    if n_scattered:
        notes.append(
            f"{n_scattered:,} near-duplicates are in groups too large for one fold. They were "
            "dealt out one by one, so a wrong label among them may be vouched for by its twins."
        )
    return notes
