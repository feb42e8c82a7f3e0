"""An audit's findings in full, as CSV: every judged label and every pair of near-duplicates."""

from pathlib import Path
from typing import Any

from cifarlab.system.files import write_text

_IMAGE = {"split": "split", "index": "index", "name": "image", "given_label": "label"}


def write_tables(folder: Path, findings: dict[str, Any]) -> None:
    """Write ``pairs.csv`` and, where labels were judged, ``labels.csv``. Raises StorageError.

    The labels with the most suspicious first, the pairs in the order of ``duplicate_findings``.
    """
    import pandas as pd

    classes, pairs = dict(enumerate(findings["classes"])), findings["duplicates"]["pairs"]
    similarity = pd.Series([pair["similarity"] for pair in pairs], name="similarity", dtype=float)
    columns = []
    for end in "ab":
        images = pd.DataFrame([pair[end] for pair in pairs], columns=list(_IMAGE))
        images["given_label"] = images["given_label"].map(classes)
        columns.append(images.rename(columns=_IMAGE).add_suffix(f"_{end}"))
    tables = {"pairs": pd.concat([*columns, similarity], axis=1)}
    if labels := findings["labels"]:
        suspects = pd.DataFrame(labels["suspects"]).rename(columns={"name": "image"})
        for key in ("given_label", "predicted_label", "true_label"):
            suspects[key] = suspects[key].map(classes)
        tables["labels"] = suspects
    for name, table in tables.items():
        text = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
        write_text(folder / f"{name}.csv", text)
